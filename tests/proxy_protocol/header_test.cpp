// Promised: the header is the load balancer's, byte for byte, its checksum right, padded to a hundred bytes,
// whatever else it carries. Checked against headers that load balancers sent, the checksum against the
// vectors of RFC 3720, and everything else against bytes written by hand from the format's document.
#include "tlsplice/proxy_protocol/header.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "../../src/proxy_protocol/crc32c.hpp"
#include "tlsplice/base/expect.hpp"

namespace tlsplice::proxy_protocol {
namespace {

using Bytes = std::vector<std::byte>;

net::Address address(std::string_view host, std::uint16_t port) {
  auto parsed = net::Address::parse(host, port);
  TLSPLICE_EXPECT(parsed.has_value(), "a literal of the test is right");
  return *parsed;
}

std::string hex(std::span<const std::byte> bytes) {
  std::string out;
  for (const std::byte byte : bytes) out += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
  return out;
}

std::string hex(std::string_view text) {
  return hex(std::as_bytes(std::span(text)));
}

Bytes bytes(std::string_view hex_digits) {
  Bytes out;
  for (std::size_t at = 0; at < hex_digits.size(); at += 2) {
    out.push_back(static_cast<std::byte>(std::stoul(std::string(hex_digits.substr(at, 2)), nullptr, 16)));
  }
  return out;
}

/// The header with the four bytes of its checksum zeroed, and whether they were right.
std::string without_checksum(Bytes header, std::size_t at) {
  const std::string said = hex(std::span(header).subspan(at, 4));
  std::fill_n(header.begin() + static_cast<std::ptrdiff_t>(at), 4, std::byte{});
  EXPECT_EQ(said, fmt::format("{:08x}", crc32c(header)));
  return hex(header);
}

std::string zeros(std::size_t count) {
  return std::string(2 * count, '0');
}

const std::string kSignature = "0d0a0d0a000d0a515549540a";
constexpr std::size_t kAfterIpv4 = 16 + 12 + 3;  // where the checksum is
constexpr std::size_t kAfterIpv6 = 16 + 36 + 3;

TEST(Crc32c, HasTheVectorsOfRfc3720) {
  EXPECT_EQ(crc32c({}), 0u);
  EXPECT_EQ(crc32c(bytes(zeros(32))), 0x8a9136aau);
  EXPECT_EQ(crc32c(bytes(std::string(64, 'f'))), 0x62a8ab43u);
  std::string counting;
  for (char c = 0; c < 32; ++c) counting += c;
  EXPECT_EQ(crc32c(std::as_bytes(std::span(counting))), 0x46dd794eu);
  EXPECT_EQ(crc32c(std::as_bytes(std::span(std::string_view("123456789")))), 0xe3069283u);
}

// Sent by a load balancer to a mail server, and published as the test vector of a parser of this format.
TEST(ProxyHeader, IsTheOneThatALoadBalancerSent) {
  EXPECT_EQ(hex(proxy_header(address("123.103.201.154", 45334), address("172.31.12.55", 587))),
            kSignature + "21110054" + "7b67c99a" + "ac1f0c37" + "b116" + "024b" + "030004" + "08942207" +
                "04003e" + zeros(62));
}

// The same with an endpoint's name (type 0xEA), which we never have: the vector of
// aws/elastic-load-balancing-tools, Compatibility_AwsNetworkLoadBalancerTest. What is around it must agree.
TEST(ProxyHeader, HasTheChecksumOfALoadBalancers) {
  const Bytes sent = bytes(kSignature + "21110054ac1f0771ac1f0a1fc8f20050" + "030004e8d6892d" + "ea001701" +
                           hex("vpce-08d2bf15fac5001c9") + "040024" + zeros(36));
  ASSERT_EQ(sent.size(), kHeaderBytesMin);
  without_checksum(sent, kAfterIpv4);
  const Bytes ours = proxy_header(address("172.31.7.113", 51442), address("172.31.10.31", 80));
  EXPECT_EQ(hex(std::span(ours).first(kAfterIpv4)), hex(std::span(sent).first(kAfterIpv4)));
}

TEST(ProxyHeader, CarriesIpv6) {
  EXPECT_EQ(
      without_checksum(proxy_header(address("2001:db8::1", 1), address("2001:db8::ffff", 65535)), kAfterIpv6),
      kSignature + "21210054" + "20010db8000000000000000000000001" + "20010db800000000000000000000ffff" +
          "0001" + "ffff" + "030004" + zeros(4) + "040026" + zeros(38));
}

TEST(ProxyHeader, WritesMixedFamiliesAsIpv6) {
  const net::Address v4 = address("192.0.2.1", 256);
  const net::Address v6 = address("2001:db8::1", 443);
  const std::string mapped = "00000000000000000000ffffc0000201";
  const std::string plain = "20010db8000000000000000000000001";
  const std::string rest = "030004" + zeros(4) + "040026" + zeros(38);
  EXPECT_EQ(without_checksum(proxy_header(v4, v6), kAfterIpv6),
            kSignature + "21210054" + mapped + plain + "0100" + "01bb" + rest);
  EXPECT_EQ(without_checksum(proxy_header(v6, v4), kAfterIpv6),
            kSignature + "21210054" + plain + mapped + "01bb" + "0100" + rest);
}

TEST(ProxyHeader, SaysWhenAnAddressIsNotKnown) {
  const std::string unknown = kSignature + "21000054" + "030004" + zeros(4) + "04004a" + zeros(74);
  EXPECT_EQ(without_checksum(proxy_header({}, address("192.0.2.1", 1)), 16 + 3), unknown);
  EXPECT_EQ(without_checksum(proxy_header(address("2001:db8::1", 1), {}), 16 + 3), unknown);
}

/// What comes after an IPv4 header's checksum.
std::string tail(const Extras& extras) {
  const Bytes header = proxy_header(address("192.0.2.1", 1), address("192.0.2.2", 2), extras);
  const std::string all = without_checksum(header, kAfterIpv4);
  EXPECT_EQ(all.substr(28, 4), fmt::format("{:04x}", header.size() - 16));
  return all.substr(2 * (kAfterIpv4 + 4));
}

TEST(ProxyHeader, CarriesWhatElseIsKnown) {
  EXPECT_EQ(tail({.alpn = "h2"}), "010002" + hex("h2") + "040039" + zeros(57));
  EXPECT_EQ(tail({.authority = "a.example"}), "020009" + hex("a.example") + "040032" + zeros(50));
  EXPECT_EQ(tail({.tls = Tls{"TLSv1.2", "AES128-SHA"}}),
            "20001c"
            "01"
            "00000001"
            "210007" +
                hex("TLSv1.2") + "23000a" + hex("AES128-SHA") + "04001f" + zeros(31));
  EXPECT_EQ(tail({.tls = Tls{}}),
            "200005"
            "01"
            "00000001"
            "040036" +
                zeros(54));
}

// With all of them there is nothing left to fill.
TEST(ProxyHeader, GrowsBeyondAHundredBytes) {
  const std::string cipher = "ECDHE-RSA-AES128-GCM-SHA256";
  EXPECT_EQ(tail({.alpn = "http/1.1", .authority = "www.example.com", .tls = Tls{"TLSv1.2", cipher}}),
            "010008" + hex("http/1.1") + "02000f" + hex("www.example.com") +
                "20002d"
                "01"
                "00000001"
                "210007" +
                hex("TLSv1.2") + "23001b" + hex(cipher));
}

// A name that leaves 4, 3, 2, 1 and 0 bytes: a NOOP takes three.
TEST(ProxyHeader, FillsWithNoopsThatFit) {
  const auto with_name = [](std::size_t size) {
    const std::string name(size, 'n');
    return tail({.authority = name}).substr(2 * (3 + size));
  };
  EXPECT_EQ(with_name(58), "04000100");
  EXPECT_EQ(with_name(59), "040000");
  EXPECT_EQ(with_name(60), "040000");
  EXPECT_EQ(with_name(61), "040000");
  EXPECT_EQ(with_name(62), "");
  EXPECT_EQ(with_name(63), "");
}

TEST(ProxyHeader, LeavesOutWhatIsTooLong) {
  const std::string longest(kValueBytesMax, 'n');
  const std::string longer(kValueBytesMax + 1, 'n');
  EXPECT_EQ(tail({.authority = longest}), "0200ff" + hex(longest));
  EXPECT_EQ(tail({.alpn = longer, .authority = longer}), "04003e" + zeros(62));
}

TEST(LocalHeader, HasNoAddress) {
  EXPECT_EQ(without_checksum(local_header(), 16 + 3),
            kSignature + "20110054" + "030004" + zeros(4) + "04004a" + zeros(74));
}

}  // namespace
}  // namespace tlsplice::proxy_protocol
