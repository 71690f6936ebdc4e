#include "facts.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <span>

namespace tlsplice::cli {
namespace {

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

struct ForPeople {
  std::string operator()(bool yes) const { return yes ? "yes" : "no"; }
  std::string operator()(std::uint64_t number) const { return std::to_string(number); }
  std::string operator()(const std::string& text) const { return text; }
};

struct ForPrograms {
  std::string operator()(bool yes) const { return yes ? "true" : "false"; }
  std::string operator()(std::uint64_t number) const { return std::to_string(number); }
  std::string operator()(const std::string& text) const { return quoted(text); }
};

/// The facts that share their name up to `depth`.
std::string object(std::span<const Fact> facts, std::size_t depth) {
  const std::string indent(2 * (depth + 1), ' ');
  std::string out = "{";
  const char* comma = "\n";
  while (!facts.empty()) {
    const std::string& key = facts.front().name[depth];
    const auto same = std::ranges::find_if_not(
        facts, [&](const Fact& fact) { return fact.name.size() > depth && fact.name[depth] == key; });
    const auto count = static_cast<std::size_t>(same - facts.begin());
    const bool leaf = facts.front().name.size() == depth + 1;
    out += fmt::format(
        "{}{}{}: {}", comma, indent, quoted(key),
        leaf ? std::visit(ForPrograms{}, facts.front().value) : object(facts.first(count), depth + 1));
    comma = ",\n";
    facts = facts.subspan(leaf ? 1 : count);
  }
  return out + '\n' + std::string(2 * depth, ' ') + '}';
}

}  // namespace

std::string as_lines(const Facts& facts) {
  std::string out;
  for (const Fact& fact : facts) {
    if (fact.implied) continue;
    std::string line = fmt::format("{:<46} {:<12} {}", fmt::format("{}", fmt::join(fact.name, ".")),
                                   std::visit(ForPeople{}, fact.value), fact.consequence);
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
  }
  return out;
}

std::string as_json(const Facts& facts) {
  return object(facts, 0) + '\n';
}

}  // namespace tlsplice::cli
