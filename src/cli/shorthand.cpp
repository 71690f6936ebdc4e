#include "shorthand.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace tlsplice::cli {
namespace {

using Pairs = std::map<std::string, std::string>;

std::unexpected<std::string> expected_such(std::string_view text, std::string_view example) {
  return std::unexpected(fmt::format("\"{}\": expected such as {}", text, example));
}

/// The pairs, if they have these names and no others.
std::expected<Pairs, std::string> pairs_of(const std::string& text, std::string_view example,
                                           const std::vector<std::string>& required,
                                           const std::vector<std::string>& optional = {}) {
  auto pairs = parse_shorthand(text);
  if (!pairs) return expected_such(text, example);
  const auto known = [&](const auto& pair) {
    const auto in = [&](const auto& names) { return std::ranges::find(names, pair.first) != names.end(); };
    return in(required) || in(optional);
  };
  const auto is_there = [&](const std::string& name) { return pairs->contains(name); };
  if (!std::ranges::all_of(*pairs, known) || !std::ranges::all_of(required, is_there))
    return expected_such(text, example);
  return pairs;
}

}  // namespace

std::expected<Pairs, std::string> parse_shorthand(std::string_view text) {
  Pairs pairs;
  std::string* value = nullptr;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(','), text.size());
    const std::string_view piece = text.substr(0, end);
    const std::size_t equals = piece.find('=');
    if (equals != std::string_view::npos && equals > 0) {
      const auto [entry, fresh] = pairs.emplace(piece.substr(0, equals), piece.substr(equals + 1));
      if (!fresh) return std::unexpected(fmt::format("{} is there twice", entry->first));
      value = &entry->second;
    } else if (value != nullptr) {
      value->append(",").append(piece);
    } else {
      return std::unexpected("expected name=value");
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return pairs;
}

std::expected<std::string, std::string> parse_target(const std::string& text) {
  if (!text.contains('=')) return text;
  auto pairs = pairs_of(text, "Id=192.0.2.1,Port=8080", {"Id"}, {"Port", "AvailabilityZone"});
  if (!pairs) return std::unexpected(std::move(pairs.error()));
  const std::string& id = (*pairs)["Id"];
  const std::string host = id.contains(':') ? fmt::format("[{}]", id) : id;
  return pairs->contains("Port") ? fmt::format("{}:{}", host, (*pairs)["Port"]) : host;
}

std::expected<std::pair<std::string, std::string>, std::string> parse_attribute(const std::string& text) {
  constexpr std::string_view kExample = "Key=deregistration_delay.timeout_seconds,Value=30";
  if (text.starts_with("Key=") || text.starts_with("Value=")) {
    auto pairs = pairs_of(text, kExample, {"Key", "Value"});
    if (!pairs) return std::unexpected(std::move(pairs.error()));
    return std::pair((*pairs)["Key"], (*pairs)["Value"]);
  }
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) return expected_such(text, kExample);
  return std::pair(text.substr(0, equals), text.substr(equals + 1));
}

std::expected<CertificateFiles, std::string> parse_certificate(const std::string& text) {
  auto pairs = pairs_of(text, "chain=web.pem,key=web.key", {"chain", "key"});
  if (!pairs) return std::unexpected(std::move(pairs.error()));
  if ((*pairs)["chain"].empty() || (*pairs)["key"].empty())
    return expected_such(text, "chain=web.pem,key=web.key");
  return CertificateFiles{(*pairs)["chain"], (*pairs)["key"]};
}

}  // namespace tlsplice::cli
