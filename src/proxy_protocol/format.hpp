// The names and numbers of the PROXY protocol, for those who write a header and those who read one
// (doc/proxy-protocol.txt, section 2.2).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tlsplice::proxy_protocol {

using namespace std::string_view_literals;

inline constexpr std::string_view kSignature = "\r\n\r\n\0\r\nQUIT\n"sv;
inline constexpr std::uint8_t kVersion2Local = 0x20;
inline constexpr std::uint8_t kVersion2Proxy = 0x21;
inline constexpr std::uint8_t kUnspecified = 0x00;
inline constexpr std::uint8_t kTcpOverIpv4 = 0x11;
inline constexpr std::uint8_t kTcpOverIpv6 = 0x21;
inline constexpr std::uint8_t kTypeCrc32c = 0x03;

inline constexpr std::size_t kLengthAt = 14;  // of two bytes: how many come after them
inline constexpr std::size_t kAddressesAt = 16;
inline constexpr std::size_t kTlvBytes = 3;  // type and length, before the value
inline constexpr std::string_view kMappedPrefix = "\0\0\0\0\0\0\0\0\0\0\xff\xff"sv;

}  // namespace tlsplice::proxy_protocol
