// Addresses as text, checked and spelled canonically by the C library's inet_pton and inet_ntop; host names
// by the letters of RFC 1123. Each way to write one wrongly has a sentence of its own, because "invalid
// address" is what people search the web for.
#include "tlsplice/policy/host_port.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "tlsplice/policy/words.hpp"

namespace tlsplice::policy {
namespace {

constexpr std::string_view kExample = R"(expected an IP address and a port such as "192.0.2.1:443")";
constexpr std::string_view kTargetExample =
    R"(expected an IP address or host name and a port such as "192.0.2.1:443" or "app.internal:443")";
constexpr std::string_view kExample6 = R"(expected one such as "[2001:db8::1]:443")";

constexpr std::size_t kHostNameMax = 253;  // RFC 1035: 255 bytes on the wire
constexpr std::size_t kLabelMax = 63;

std::optional<std::string> canonical(int family, std::string_view host);
std::string wrong_with_name(std::string_view name);
bool zero_behind(const std::string& host, int family, unsigned prefix);
std::expected<std::uint16_t, std::string> parse_port(std::string_view text);
std::unexpected<std::string> no_address(std::string_view text, std::string_view host, bool bracketed);

}  // namespace

std::expected<HostPort, std::string> parse_host_port(std::string_view text) {
  const bool bracketed = text.starts_with('[');
  if (!bracketed && std::ranges::count(text, ':') > 1) {
    return std::unexpected(
        fmt::format(R"({}: an IPv6 address stands in brackets, expected one such as "[2001:db8::1]:443")",
                    in_quotes(text)));
  }
  const std::size_t end = bracketed ? text.find(']') : std::min(text.find(':'), text.size());
  if (end == std::string_view::npos)
    return std::unexpected(fmt::format("{} has no closing bracket, {}", in_quotes(text), kExample6));
  const std::string_view host = bracketed ? text.substr(1, end - 1) : text.substr(0, end);
  const std::string_view rest = text.substr(bracketed ? end + 1 : end);

  const auto address = canonical(bracketed ? AF_INET6 : AF_INET, host);
  if (!address) return no_address(text, host, bracketed);
  if (!rest.starts_with(':')) {
    return std::unexpected(fmt::format("{} has no port, {}", in_quotes(text), kExample));
  }
  const auto port = parse_port(rest.substr(1));
  if (!port) return std::unexpected(fmt::format("{}: {}", in_quotes(text), port.error()));
  return HostPort{*address, *port};
}

std::expected<Network, std::string> parse_network(std::string_view text) {
  const auto refuse = [&](std::string_view why) {
    return std::unexpected(
        fmt::format(R"({} {}, expected one such as "10.0.0.0/8" or "2001:db8::/32")", in_quotes(text), why));
  };
  const std::string_view host = text.substr(0, text.find('/'));
  const bool v6 = host.contains(':');
  auto address = canonical(v6 ? AF_INET6 : AF_INET, host);
  if (!address) return refuse("is no network");
  const unsigned bits = v6 ? 128 : 32;
  unsigned prefix = bits;
  if (host.size() < text.size()) {
    const std::string_view number = text.substr(host.size() + 1);
    const auto [end, fault] = std::from_chars(number.data(), number.data() + number.size(), prefix);
    if (fault != std::errc{} || end != number.data() + number.size() || prefix > bits)
      return refuse(fmt::format("has no prefix of 0 to {} bits", bits));
  }
  if (!zero_behind(*address, v6 ? AF_INET6 : AF_INET, prefix))
    return refuse(fmt::format("has other bits than the first {} in its address", prefix));
  return Network{*std::move(address), static_cast<std::uint8_t>(prefix)};
}

std::expected<HostPort, std::string> parse_target(std::string_view text) {
  const std::string_view host = text.substr(0, text.find(':'));
  const bool literal = text.starts_with('[') || std::ranges::count(text, ':') > 1 || canonical(AF_INET, host);
  if (literal) {
    auto target = parse_host_port(text);
    if (target && is_wildcard(*target)) {
      return std::unexpected(
          fmt::format("{} stands for every address, expected that of one target", in_quotes(text)));
    }
    return target;
  }
  if (const std::string wrong = wrong_with_name(host); !wrong.empty())
    return std::unexpected(fmt::format("{} {}, {}", in_quotes(host), wrong, kTargetExample));
  if (host.size() == text.size())
    return std::unexpected(fmt::format("{} has no port, {}", in_quotes(text), kTargetExample));
  const auto port = parse_port(text.substr(host.size() + 1));
  if (!port) return std::unexpected(fmt::format("{}: {}", in_quotes(text), port.error()));
  HostPort target{std::string(host), *port};
  for (char& c : target.host) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return target;
}

bool is_wildcard(const HostPort& address) {
  return address.host == "0.0.0.0" || address.host == "::";
}

bool is_host_name(const HostPort& address) {
  return !address.host.contains(':') &&
         address.host.find_first_not_of("0123456789.") != std::string::npos;  // see wrong_with_name
}

namespace {

std::optional<std::string> canonical(int family, std::string_view host) {
  std::array<unsigned char, sizeof(in6_addr)> binary{};
  std::array<char, INET6_ADDRSTRLEN> out{};
  if (host.find('\0') != std::string_view::npos)
    return std::nullopt;  // the C library would see a shorter address
  if (inet_pton(family, std::string(host).c_str(), binary.data()) != 1) return std::nullopt;
  if (inet_ntop(family, binary.data(), out.data(), out.size()) == nullptr) return std::nullopt;
  return std::string(out.data());
}

/// Empty when it is a host name (RFC 1123 section 2.1, with the underscores that DNS has in the wild).
std::string wrong_with_name(std::string_view name) {
  const auto letter_or_digit = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  if (name.ends_with('.')) name.remove_suffix(1);  // a whole name: no search domain is put behind it
  if (name.empty()) return "is no host name";
  if (name.size() > kHostNameMax)
    return fmt::format("is no host name: it is longer than {} characters", kHostNameMax);
  // "1.2.3", "10.0.0.0x1" and the like: what the C library would take for an address.
  const std::string_view last = name.substr(name.rfind('.') + 1);
  const std::string_view digits = last.starts_with("0x") || last.starts_with("0X") ? last.substr(2) : last;
  const bool number = last != digits
                          ? digits.find_first_not_of("0123456789abcdefABCDEF") == std::string_view::npos
                          : digits.find_first_not_of("0123456789") == std::string_view::npos;
  if (number && !last.empty()) return "is not an IP address, and no host name ends in a number";
  for (std::string_view rest = name;;) {
    const std::string_view label = rest.substr(0, rest.find('.'));
    if (label.empty()) return "is no host name: nothing stands between two dots, or before the first one";
    if (label.size() > kLabelMax)
      return fmt::format("is no host name: more than {} characters stand between two dots", kLabelMax);
    if (!std::ranges::all_of(label, [&](char c) { return letter_or_digit(c) || c == '-' || c == '_'; }))
      return "is no host name: only letters, digits, hyphens, underscores and dots can be in one";
    if (label.starts_with('-') || label.ends_with('-'))
      return "is no host name: a hyphen stands at the beginning or the end of a part";
    if (label.size() == rest.size()) return {};
    rest.remove_prefix(label.size() + 1);
  }
}

/// Whether no bit of the address is set behind its first `prefix` ones.
bool zero_behind(const std::string& host, int family, unsigned prefix) {
  std::array<unsigned char, sizeof(in6_addr)> binary{};
  inet_pton(family, host.c_str(), binary.data());
  for (unsigned bit = prefix; bit < 8 * binary.size(); ++bit) {
    if ((binary[bit / 8] >> (7 - bit % 8) & 1U) != 0) return false;
  }
  return true;
}

std::expected<std::uint16_t, std::string> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), port);
  const bool whole = end == text.data() + text.size();
  if (fault == std::errc{} && whole && port != 0) return port;
  return std::unexpected(fmt::format("{} is no port, expected 1 to 65535", in_quotes(text)));
}

std::unexpected<std::string> no_address(std::string_view text, std::string_view host, bool bracketed) {
  if (host.empty())
    return std::unexpected(fmt::format("{} has no IP address, {}", in_quotes(text), kExample));
  if (bracketed)
    return std::unexpected(fmt::format("{} is not an IPv6 address, {}", in_quotes(host), kExample6));
  return std::unexpected(
      fmt::format("{} is not an IP address and names are not resolved, {}", in_quotes(host), kExample));
}

}  // namespace
}  // namespace tlsplice::policy
