// One text for a report, so that anyone can read it in a trace: the name, then its addresses, single spaces
// between.
#include "tlsplice/resolver/report.hpp"

#include <netinet/in.h>

#include <algorithm>

namespace tlsplice::resolver {

std::string to_text(const Report& report) {
  std::string text = report.name;
  for (const std::string& address : report.addresses) (text += ' ') += address;
  return text;
}

std::optional<Report> parse_report(std::string_view text) {
  if (text.size() > kReportMax || text.contains('\0')) return std::nullopt;
  const std::size_t end = std::min(text.find(' '), text.size());
  Report report{std::string(text.substr(0, end)), {}};
  if (report.name.empty()) return std::nullopt;
  text.remove_prefix(end);
  while (!text.empty()) {
    text.remove_prefix(1);
    const std::string_view word = text.substr(0, text.find(' '));
    const auto address = net::Address::parse(word, 1);
    if (!address || address->host() != word || !why_unusable(*address).empty()) return std::nullopt;
    if (!report.addresses.empty() && report.addresses.back() >= word) return std::nullopt;
    if (report.addresses.size() == kAddressesOfANameMax) return std::nullopt;
    report.addresses.emplace_back(word);
    text.remove_prefix(word.size());
  }
  return report;
}

std::string_view why_unusable(const net::Address& address) {
  const std::string_view ip = address.ip_bytes();
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(ip[i]); };
  if (ip.empty()) return "no IP address";
  if (address.family() == AF_INET) {
    if (byte(0) == 0) return "stands for this host or network";
    if (byte(0) >= 224 && byte(0) < 240) return "multicast";
    return byte(0) == 255 && byte(1) == 255 && byte(2) == 255 && byte(3) == 255 ? "broadcast" : "";
  }
  const bool zeros = ip.substr(0, 10).find_first_not_of('\0') == std::string_view::npos;
  if (zeros && ip.substr(10).find_first_not_of('\0') == std::string_view::npos)
    return "stands for every address";
  if (zeros && byte(10) == 0xff && byte(11) == 0xff) return "an IPv4 address in IPv6's clothes";
  if (byte(0) == 0xff) return "multicast";
  return byte(0) == 0xfe && (byte(1) & 0xc0U) == 0x80 ? "link-local, and no answer names the link" : "";
}

}  // namespace tlsplice::resolver
