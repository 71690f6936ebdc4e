// Promised: a header of version 1 or 2 is read to its last byte and not one further, however its bytes come;
// it yields the client it names; what is no such header, to the letter of the format's document, is refused
// with the reason. Headers are written by hand from that document, or by our own writer.
#include "tlsplice/proxy_protocol/reader.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "tlsplice/proxy_protocol/header.hpp"

namespace tlsplice::proxy_protocol {
namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;

constexpr std::string_view kSignature = "\r\n\r\n\0\r\nQUIT\n"sv;
constexpr std::string_view kAfter = "\x16\x03\x01\n the hello";

/// As the session does it: never more than wanted, of a line only up to its newline, `step` bytes at a time.
/// The client, "none", or why it is refused; and how much was left unread.
struct Read {
  std::string result;
  std::size_t left = 0;
};
Read read(std::string_view bytes, std::size_t step = 4096) {
  HeaderReader reader;
  std::size_t at = 0;
  while (reader.wanted() > 0) {
    std::size_t size = std::min({reader.wanted(), step, bytes.size() - at});
    if (size == 0) return {"cut short", 0};
    const std::size_t newline = bytes.substr(at, size).find('\n');
    if (reader.up_to_newline() && newline != std::string_view::npos) size = newline + 1;
    const auto taken = reader.take(std::as_bytes(std::span(bytes.substr(at, size))));
    at += size;
    if (!taken) return {taken.error().detail, bytes.size() - at};
  }
  return {reader.client() ? reader.client()->text() : "none", bytes.size() - at};
}

/// The same whatever the pieces are, with nothing of what follows taken.
std::string client_of(std::string_view header) {
  const std::string all = std::string(header) + std::string(kAfter);
  const Read whole = read(all);
  EXPECT_EQ(whole.left, kAfter.size()) << whole.result;
  for (const std::size_t step : {1UZ, 2UZ, 7UZ, 16UZ}) {
    const Read pieces = read(all, step);
    EXPECT_EQ(pieces.result, whole.result) << step;
    EXPECT_EQ(pieces.left, kAfter.size()) << step;
  }
  return whole.result;
}

std::string refusal_of(std::string_view header) {
  constexpr std::string_view kBegin = "no proxy protocol header: ";
  const std::string result = read(std::string(header) + std::string(200, 'x')).result;
  EXPECT_EQ(read(std::string(header) + std::string(200, 'x'), 1).result, result);
  return result.starts_with(kBegin) ? result.substr(kBegin.size()) : "taken: " + result;
}

std::string frame(std::uint8_t command, std::uint8_t family, std::string_view rest, int length = -1) {
  std::string out(kSignature);
  out += static_cast<char>(command);
  out += static_cast<char>(family);
  const std::size_t size = length < 0 ? rest.size() : static_cast<std::size_t>(length);
  out += static_cast<char>(size >> 8);
  out += static_cast<char>(size);
  return out + std::string(rest);
}

constexpr std::string_view kV4 = "\xc0\0\2\1\xc6\x33\x64\x07\xc3\x50\x01\xbb"sv;  // 192.0.2.1:50000

std::string text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

net::Address address(std::string_view host, std::uint16_t port) {
  return *net::Address::parse(host, port);
}

TEST(HeaderReader, ReadsLines) {
  EXPECT_EQ(client_of("PROXY TCP4 192.0.2.1 198.51.100.7 50000 443\r\n"), "192.0.2.1:50000");
  EXPECT_EQ(client_of("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n"), "0.0.0.0:0");
  EXPECT_EQ(client_of("PROXY TCP6 2001:db8::1 ::1 65535 1\r\n"), "[2001:db8::1]:65535");
  EXPECT_EQ(client_of("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 1\r\n"), "192.0.2.1:1");
  EXPECT_EQ(client_of("PROXY UNKNOWN\r\n"), "none");
  EXPECT_EQ(client_of("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n"), "none");
  const std::string longest = "PROXY UNKNOWN " + std::string(kLineBytesMax - 16, 'f') + "\r\n";
  EXPECT_EQ(longest.size(), kLineBytesMax);
  EXPECT_EQ(client_of(longest), "none");
}

TEST(HeaderReader, RefusesOtherLines) {
  EXPECT_EQ(refusal_of("PROXY UNKNOWN " + std::string(kLineBytesMax - 15, 'f') + "\r\n"),
            "a line of more than 107 bytes");
  EXPECT_EQ(refusal_of("PROXY TCP4 192.0.2.1 198.51.100.7 50000 443\n"),
            "a line that does not end with CR and LF");
  EXPECT_EQ(refusal_of("PROXY \r\n"), "a line that is too short");
  EXPECT_EQ(refusal_of("PROXY UDP4 192.0.2.1 198.51.100.7 50000 443\r\n"),
            "a line of neither TCP4, TCP6 nor UNKNOWN");
  for (const char* const line :
       {"PROXY TCP4 192.0.2.1 198.51.100.7 50000\r\n", "PROXY TCP4  192.0.2.1 198.51.100.7 50000 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 50000 443 \r\n", "PROXY TCP4 192.0.2.1 1.1.1.1 1 1 1\r\n"})
    EXPECT_EQ(refusal_of(line), "a line without two addresses and two ports") << line;
  for (const char* const port : {"65536", "01", "+1", "-1", "1x", "99999999999"})
    EXPECT_EQ(refusal_of(std::string("PROXY TCP4 192.0.2.1 198.51.100.7 ") + port + " 443\r\n"),
              "a port that is none")
        << port;
  for (const char* const addresses : {"192.0.2.256 198.51.100.7", "192.0.2.1 localhost", "::1 ::1",
                                      "192.0.2.1 ::1", "192.0.2.01 198.51.100.7"})
    EXPECT_EQ(refusal_of(std::string("PROXY TCP4 ") + addresses + " 50000 443\r\n"),
              "an address that is none")
        << addresses;
}

TEST(HeaderReader, RefusesWhatIsNoHeaderAtItsFirstByte) {
  HeaderReader reader;
  EXPECT_FALSE(reader.take(std::as_bytes(std::span("\x16"sv))));
  for (const auto begin : {"GET / HTTP/1.1\r\n\r\n"sv, "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03 bcdef"sv,
                           "PROXYTCP4 192.0.2.1 192.0.2.1 1 1\r\n"sv, "\r\n\r\nQUIT\n\0\0\0\0\0"sv})
    EXPECT_EQ(refusal_of(begin), "the connection begins with something else");
}

TEST(HeaderReader, ReadsFrames) {
  EXPECT_EQ(client_of(frame(0x21, 0x11, kV4)), "192.0.2.1:50000");
  const std::string v6 =
      "\x20\x01\x0d\xb8"s + std::string(11, '\0') + "\1" + std::string(16, '\7') + "\0\1\0\2"s;
  EXPECT_EQ(client_of(frame(0x21, 0x21, v6)), "[2001:db8::1]:1");
  EXPECT_EQ(client_of(frame(0x21, 0x00, "")), "none");
  EXPECT_EQ(client_of(frame(0x21, 0x00, "whatever it is")), "none");
  EXPECT_EQ(client_of(frame(0x20, 0x00, "")), "none");
  EXPECT_EQ(client_of(frame(0x20, 0x11, kV4)), "none");
  EXPECT_EQ(client_of(frame(0x20, 0xff, "\xff\xff")), "none");
  EXPECT_EQ(client_of(frame(0x21, 0x11, std::string(kV4) + "\xe0\0\0\xe1\0\2ab"s)), "192.0.2.1:50000");
  EXPECT_EQ(client_of(frame(0x20, 0x00, std::string(kInboundBytesMax - 16, 'x'))), "none");
}

TEST(HeaderReader, ReadsWhatWeWrite) {
  const Extras extras{
      .alpn = "h2", .authority = "www.example.com", .tls = Tls{"TLSv1.3", "TLS_AES_128_GCM_SHA256"}};
  EXPECT_EQ(client_of(text_of(proxy_header(address("192.0.2.1", 50000), address("127.0.0.1", 443), extras))),
            "192.0.2.1:50000");
  EXPECT_EQ(client_of(text_of(proxy_header(address("192.0.2.1", 50000), address("::1", 443)))),
            "192.0.2.1:50000");
  EXPECT_EQ(client_of(text_of(proxy_header(address("2001:db8::1", 1), address("::1", 443)))),
            "[2001:db8::1]:1");
  EXPECT_EQ(client_of(text_of(proxy_header({}, {}))), "none");
  EXPECT_EQ(client_of(text_of(local_header())), "none");
}

TEST(HeaderReader, ChecksTheChecksum) {
  const std::string good = text_of(proxy_header(address("192.0.2.1", 50000), address("127.0.0.1", 443)));
  for (const std::size_t at : {16UZ, 25UZ, 31UZ, 34UZ, 60UZ, 99UZ}) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    EXPECT_EQ(refusal_of(bad), "its checksum is wrong") << at;
  }
  EXPECT_EQ(refusal_of(frame(0x21, 0x11, std::string(kV4) + "\3\0\3abc"s)), "a checksum that is none");
  const std::string one = "\3\0\4abcd"s;
  EXPECT_EQ(refusal_of(frame(0x21, 0x11, std::string(kV4) + one + one)), "a checksum that is none");
}

TEST(HeaderReader, RefusesOtherFrames) {
  EXPECT_EQ(refusal_of(frame(0x11, 0x11, kV4)), "version and command 0x11");
  EXPECT_EQ(refusal_of(frame(0x22, 0x11, kV4)), "version and command 0x22");
  EXPECT_EQ(refusal_of(frame(0x21, 0x12, kV4)), "protocol and family 0x12");
  EXPECT_EQ(refusal_of(frame(0x21, 0x31, std::string(216, 'x'))), "protocol and family 0x31");
  EXPECT_EQ(refusal_of(frame(0x21, 0x11, kV4.substr(1))), "too short for its addresses");
  EXPECT_EQ(refusal_of(frame(0x21, 0x21, kV4)), "too short for its addresses");
  EXPECT_EQ(refusal_of(frame(0x21, 0x11, std::string(kV4) + "\xe0\0"s)), "a TLV that is cut short");
  EXPECT_EQ(refusal_of(frame(0x21, 0x11, std::string(kV4) + "\xe0\0\2a"s)), "a TLV that is cut short");
  EXPECT_EQ(refusal_of(frame(0x20, 0x00, "", static_cast<int>(kInboundBytesMax - 15))),
            "4097 bytes of version 2, at most 4096 are taken");
}

}  // namespace
}  // namespace tlsplice::proxy_protocol
