// No header is shorter than fifteen bytes ("PROXY UNKNOWN\r\n"), so these are read first; they tell the
// version. The rest of a frame has its length in front; the rest of a line is looked at before it is taken.
#include "tlsplice/proxy_protocol/reader.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <vector>

#include "crc32c.hpp"
#include "format.hpp"

namespace tlsplice::proxy_protocol {
namespace {

using base::Result;

constexpr std::string_view kLineBegin = "PROXY ";
constexpr std::size_t kShortest = 15;
constexpr std::size_t kIpv4Bytes = 4;
constexpr std::size_t kIpv6Bytes = 16;
static_assert(kShortest < kAddressesAt, "the first read takes nothing that follows a frame");

std::unexpected<base::Error> no_header(std::string why) {
  return base::fail({base::Fault::kProtocol, 0, "no proxy protocol header: " + std::move(why)});
}

unsigned byte_at(std::string_view bytes, std::size_t at) {
  return static_cast<unsigned char>(bytes[at]);
}

std::size_t number_at(std::string_view bytes, std::size_t at) {
  return byte_at(bytes, at) << 8 | byte_at(bytes, at + 1);
}

/// From bytes in network order, IPv4 where an IPv6 address only carries one.
net::Address address_of(std::string_view ip, std::uint16_t port) {
  if (ip.starts_with(kMappedPrefix)) ip.remove_prefix(kMappedPrefix.size());
  if (ip.size() == kIpv4Bytes) {
    sockaddr_in address{.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {}, .sin_zero = {}};
    std::memcpy(&address.sin_addr, ip.data(), ip.size());
    return net::Address::from(reinterpret_cast<const sockaddr*>(&address), sizeof address);
  }
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(port);
  std::memcpy(&address.sin6_addr, ip.data(), ip.size());
  return net::Address::from(reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

std::optional<std::uint16_t> port_of(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), port);
  const bool plain = !text.empty() && (text == "0" || text.front() != '0');
  if (!plain || fault != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return port;
}

/// The words of a line, each with one blank behind it but the last.
std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  for (;;) {
    const std::size_t blank = line.find(' ');
    words.push_back(line.substr(0, blank));
    if (blank == std::string_view::npos) return words;
    line.remove_prefix(blank + 1);
  }
}

}  // namespace

std::size_t HeaderReader::wanted() const {
  if (done_) return 0;
  if (bytes_.size() < kShortest) return kShortest - bytes_.size();
  if (is_line()) return kLineBytesMax - bytes_.size();
  if (bytes_.size() < kAddressesAt) return kAddressesAt - bytes_.size();
  return frame_bytes() - bytes_.size();
}

bool HeaderReader::up_to_newline() const {
  return !done_ && bytes_.size() >= kShortest && is_line();
}

Result<void> HeaderReader::take(std::span<const std::byte> bytes) {
  bytes_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (auto begun = begin(); !begun) return begun;
  if (is_line()) {
    const std::size_t newline = bytes_.find('\n');
    if (newline == std::string::npos && bytes_.size() >= kLineBytesMax)
      return no_header(fmt::format("a line of more than {} bytes", kLineBytesMax));
    if (newline == std::string::npos) return {};
    if (newline + 1 < kShortest) return no_header("a line that is too short");
    return read_line();
  }
  if (bytes_.size() < kAddressesAt) return {};
  if (frame_bytes() > kInboundBytesMax)
    return no_header(
        fmt::format("{} bytes of version 2, at most {} are taken", frame_bytes(), kInboundBytesMax));
  return bytes_.size() < frame_bytes() ? Result<void>() : read_frame();
}

/// The first bytes are those of a header, as far as they are there.
Result<void> HeaderReader::begin() const {
  const auto like = [this](std::string_view sample) {
    const std::size_t size = std::min(sample.size(), bytes_.size());
    return std::string_view(bytes_).substr(0, size) == sample.substr(0, size);
  };
  if (like(kLineBegin) || like(kSignature)) return {};
  return no_header("the connection begins with something else");
}

bool HeaderReader::is_line() const {
  return bytes_.starts_with('P');
}

std::size_t HeaderReader::frame_bytes() const {
  return kAddressesAt + number_at(bytes_, kLengthAt);
}

Result<void> HeaderReader::read_line() {
  std::string_view line = bytes_;
  if (!line.ends_with("\r\n")) return no_header("a line that does not end with CR and LF");
  line.remove_suffix(2);
  const auto words = words_of(line.substr(kLineBegin.size()));
  if (words[0] == "UNKNOWN") {  // and whatever else the line says
    done_ = true;
    return {};
  }
  const int family = words[0] == "TCP4" ? AF_INET : words[0] == "TCP6" ? AF_INET6 : AF_UNSPEC;
  if (family == AF_UNSPEC) return no_header("a line of neither TCP4, TCP6 nor UNKNOWN");
  if (words.size() != 5) return no_header("a line without two addresses and two ports");
  const auto source_port = port_of(words[3]);
  if (!source_port || !port_of(words[4])) return no_header("a port that is none");
  const auto source = net::Address::parse(words[1], *source_port);
  const auto destination = net::Address::parse(words[2], 0);
  const bool right = source && destination && source->family() == family && destination->family() == family;
  if (!right) return no_header("an address that is none");
  client_ = address_of(source->ip_bytes(), *source_port);
  done_ = true;
  return {};
}

Result<void> HeaderReader::read_frame() {
  const unsigned command = byte_at(bytes_, kSignature.size());
  const unsigned family = byte_at(bytes_, kSignature.size() + 1);
  if (command == kVersion2Local) {  // what it says of addresses is to be passed over
    done_ = true;
    return {};
  }
  if (command != kVersion2Proxy) return no_header(fmt::format("version and command 0x{:02x}", command));
  const std::size_t ip = family == kTcpOverIpv4 ? kIpv4Bytes : family == kTcpOverIpv6 ? kIpv6Bytes : 0;
  if (ip == 0 && family != kUnspecified)
    return no_header(fmt::format("protocol and family 0x{:02x}", family));
  const std::size_t addresses = ip == 0 ? 0 : 2 * (ip + sizeof(std::uint16_t));
  if (bytes_.size() < kAddressesAt + addresses) return no_header("too short for its addresses");
  // Without addresses nobody knows where what follows them begins.
  if (ip != 0) {
    if (auto right = read_tlvs(kAddressesAt + addresses); !right) return right;
    client_ = address_of(std::string_view(bytes_).substr(kAddressesAt, ip),
                         static_cast<std::uint16_t>(number_at(bytes_, kAddressesAt + 2 * ip)));
  }
  done_ = true;
  return {};
}

/// They fill the rest exactly; of all they may say the checksum alone matters here.
Result<void> HeaderReader::read_tlvs(std::size_t at) const {
  std::optional<std::size_t> checksum_at;
  while (at < bytes_.size()) {
    if (bytes_.size() - at < kTlvBytes) return no_header("a TLV that is cut short");
    const std::size_t size = number_at(bytes_, at + 1);
    if (bytes_.size() - at - kTlvBytes < size) return no_header("a TLV that is cut short");
    if (byte_at(bytes_, at) == kTypeCrc32c) {
      if (size != sizeof(std::uint32_t) || checksum_at) return no_header("a checksum that is none");
      checksum_at = at + kTlvBytes;
    }
    at += kTlvBytes + size;
  }
  if (!checksum_at) return {};
  std::string zeroed = bytes_;
  std::fill_n(zeroed.begin() + static_cast<std::ptrdiff_t>(*checksum_at), sizeof(std::uint32_t), '\0');
  const std::uint32_t said =
      static_cast<std::uint32_t>(number_at(bytes_, *checksum_at) << 16 | number_at(bytes_, *checksum_at + 2));
  if (crc32c(std::as_bytes(std::span(zeroed))) != said) return no_header("its checksum is wrong");
  return {};
}

}  // namespace tlsplice::proxy_protocol
