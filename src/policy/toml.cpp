// Parsing TOML and nothing more; the meaning of keys is the business of those who ask.
//
// Every part of a dotted key nests another table. toml++ limits how deep brackets nest (256) but not how many
// parts a key has, and it walks tables by recursion: 100 KiB of "a.a.a.a" ends the process by stack overflow.
// So dots are counted before it sees the text. A key stands on one line, which makes the dots of a line,
// strings and comments left out, the bound; numbers with a fraction count too, harmlessly: nothing here is
// one.
#include "toml.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>

#include "tlsplice/policy/words.hpp"

namespace tlsplice::policy {
namespace {

constexpr std::uint32_t kDotsMax =
    16;  // no key of ours has more than one; 16 in each of 256 brackets is still little

std::optional<Mistake> find_too_deep(std::string_view text);
std::size_t end_of_string(std::string_view text, std::size_t begin);

}  // namespace

std::expected<toml::table, Mistake> parse_toml(std::string_view text) {
  if (auto too_deep = find_too_deep(text)) return std::unexpected(*std::move(too_deep));
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& error) {
    // The library shows what it saw, and that may be a control character.
    std::string what = "not valid TOML: " + printable(error.description());
    return std::unexpected(Mistake{place_of(error.source()), "", std::move(what)});
  }
}

namespace {

std::optional<Mistake> find_too_deep(std::string_view text) {
  std::uint32_t line = 1;
  std::uint32_t dots = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '#') {
      at = std::min(text.find('\n', at), text.size()) - 1;
    } else if (c == '"' || c == '\'') {
      const std::size_t end = end_of_string(text, at);
      line += static_cast<std::uint32_t>(std::ranges::count(text.substr(at, end - at), '\n'));
      at = end - 1;
    } else if (c == '\n') {
      ++line;
      dots = 0;
    } else if (c == '.' && ++dots > kDotsMax) {
      return Mistake{
          {line, 1}, "", fmt::format("more than {} dots outside of strings, expected no such key", kDotsMax)};
    }
  }
  return std::nullopt;
}

// Behind the closing quotes; a string of one line also ends where its line does, which is an error that
// toml++ reports.
std::size_t end_of_string(std::string_view text, std::size_t begin) {
  const char quote = text[begin];
  const std::array three{quote, quote, quote};
  const std::string_view triple(three.data(), three.size());
  const bool lines = text.substr(begin).starts_with(triple);
  for (std::size_t at = begin + (lines ? 3 : 1); at < text.size(); ++at) {
    if (quote == '"' && text[at] == '\\') {
      ++at;
    } else if (!lines && (text[at] == quote || text[at] == '\n')) {
      return text[at] == quote ? at + 1 : at;
    } else if (lines && text.substr(at).starts_with(triple)) {
      at += 3;  // up to two more quotes still belong to the string: """a"""""
      for (int more = 0; more < 2 && at < text.size() && text[at] == quote; ++more) ++at;
      return at;
    }
  }
  return text.size();
}

}  // namespace
}  // namespace tlsplice::policy
