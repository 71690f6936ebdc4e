#include "tlsplice/proxy_protocol/header.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <utility>

#include "crc32c.hpp"
#include "format.hpp"

namespace tlsplice::proxy_protocol {
namespace {

constexpr std::uint8_t kTypeAlpn = 0x01;
constexpr std::uint8_t kTypeAuthority = 0x02;
constexpr std::uint8_t kTypeNoop = 0x04;
constexpr std::uint8_t kTypeSsl = 0x20;
constexpr std::uint8_t kSubtypeSslVersion = 0x21;
constexpr std::uint8_t kSubtypeSslCipher = 0x23;
constexpr std::uint8_t kClientSsl = 0x01;
// "Zero if the client presented a certificate and it was successfully verified, and non-zero otherwise."
constexpr std::string_view kNotVerified = "\0\0\0\1"sv;

class Writer {
 public:
  Writer(std::uint8_t command, std::uint8_t family) {
    bytes_.reserve(kHeaderBytesMin);
    text(kSignature);
    byte(command);
    byte(family);
    number(0);
  }

  void byte(std::uint8_t value) { bytes_.push_back(std::byte{value}); }
  void number(std::size_t value) {
    byte(static_cast<std::uint8_t>(value >> 8));
    byte(static_cast<std::uint8_t>(value));
  }
  void text(std::string_view value) {
    const auto raw = std::as_bytes(std::span(value));
    bytes_.insert(bytes_.end(), raw.begin(), raw.end());
  }
  void ip(const net::Address& address, bool as_v6) {
    if (as_v6 && address.family() == AF_INET) text(kMappedPrefix);
    text(address.ip_bytes());
  }
  void tlv(std::uint8_t type, std::string_view value) {
    if (value.empty() || value.size() > kValueBytesMax) return;
    byte(type);
    number(value.size());
    text(value);
  }
  void tls(const Tls& tls);
  /// Where its value will be.
  std::size_t checksum();
  /// A NOOP up to the least size, and the two numbers that look back at the whole.
  std::vector<std::byte> finish(std::size_t checksum_at) &&;

 private:
  void put(std::size_t at, std::uint32_t value, int bytes);

  std::vector<std::byte> bytes_;
};

void Writer::tls(const Tls& tls) {
  byte(kTypeSsl);
  const std::size_t length_at = bytes_.size();
  number(0);
  byte(kClientSsl);
  text(kNotVerified);
  tlv(kSubtypeSslVersion, tls.version);
  tlv(kSubtypeSslCipher, tls.cipher);
  put(length_at, static_cast<std::uint32_t>(bytes_.size() - length_at - 2), 2);
}

std::size_t Writer::checksum() {
  tlv(kTypeCrc32c, "\0\0\0\0"sv);
  return bytes_.size() - sizeof(std::uint32_t);
}

std::vector<std::byte> Writer::finish(std::size_t checksum_at) && {
  if (bytes_.size() < kHeaderBytesMin) {
    // Where less is missing than a NOOP takes, an empty one goes a little too far.
    const std::size_t missing = kHeaderBytesMin - bytes_.size();
    const std::size_t filling = missing - std::min(missing, kTlvBytes);
    byte(kTypeNoop);
    number(filling);
    bytes_.resize(bytes_.size() + filling);
  }
  put(kLengthAt, static_cast<std::uint32_t>(bytes_.size() - kAddressesAt), 2);
  put(checksum_at, crc32c(bytes_), 4);
  return std::move(bytes_);
}

/// In network order.
void Writer::put(std::size_t at, std::uint32_t value, int bytes) {
  for (int left = bytes; left > 0; --left, ++at) {
    bytes_[at] = std::byte{static_cast<std::uint8_t>(value >> (8 * (left - 1)))};
  }
}

}  // namespace

std::vector<std::byte> proxy_header(const net::Address& client, const net::Address& listener,
                                    const Extras& extras) {
  const bool known = !client.ip_bytes().empty() && !listener.ip_bytes().empty();
  const bool as_v6 = client.family() == AF_INET6 || listener.family() == AF_INET6;
  Writer header(kVersion2Proxy, !known ? kUnspecified : as_v6 ? kTcpOverIpv6 : kTcpOverIpv4);
  if (known) {
    header.ip(client, as_v6);
    header.ip(listener, as_v6);
    header.number(client.port());
    header.number(listener.port());
  }
  const std::size_t checksum_at = header.checksum();
  header.tlv(kTypeAlpn, extras.alpn);
  header.tlv(kTypeAuthority, extras.authority);
  if (extras.tls) header.tls(*extras.tls);
  return std::move(header).finish(checksum_at);
}

std::vector<std::byte> local_header() {
  Writer header(kVersion2Local, kTcpOverIpv4);
  const std::size_t checksum_at = header.checksum();
  return std::move(header).finish(checksum_at);
}

}  // namespace tlsplice::proxy_protocol
