// Promised: an Address is a value: what was parsed is printed back in the canonical form, compares by family,
// address and port, and is ready for the socket calls. Checked by tables of literals and by the kernel's own
// structs.
#include "tlsplice/net/address.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include "tlsplice/base/expect.hpp"

namespace tlsplice::net {
namespace {

Address parsed(std::string_view host, std::uint16_t port) {
  auto address = Address::parse(host, port);
  TLSPLICE_EXPECT(address.has_value(), "a literal of the test is right");
  return *address;
}

TEST(Address, PrintsTheCanonicalForm) {
  EXPECT_EQ(parsed("192.0.2.1", 443).text(), "192.0.2.1:443");
  EXPECT_EQ(parsed("0.0.0.0", 0).text(), "0.0.0.0:0");
  EXPECT_EQ(parsed("255.255.255.255", 65535).text(), "255.255.255.255:65535");
  EXPECT_EQ(parsed("2001:DB8:0:0:0:0:0:1", 443).text(), "[2001:db8::1]:443");
  EXPECT_EQ(parsed("::", 1).text(), "[::]:1");
  EXPECT_EQ(parsed("::ffff:192.0.2.1", 80).text(), "[::ffff:192.0.2.1]:80");
}

TEST(Address, RefusesWhatIsNoLiteral) {
  for (const char* text : {"", " ", "localhost", "192.0.2", "192.0.2.1.1", "192.0.2.256", "192.0.2.1 ", "1",
                           "192.0.2.1:80", "[::1]", ":::", "2001:db8::1::2", "fe80::1%lo", "0x7f.0.0.1"}) {
    const auto address = Address::parse(text, 80);
    ASSERT_FALSE(address.has_value()) << text;
    EXPECT_EQ(address.error().fault, base::Fault::kInvalid);
    EXPECT_EQ(address.error().text(), "\"" + std::string(text) + "\" is not an IP address");
  }
}

TEST(Address, IsWhatTheSocketCallsTake) {
  const Address v4 = parsed("192.0.2.1", 443);
  ASSERT_EQ(v4.family(), AF_INET);
  ASSERT_EQ(v4.size(), sizeof(sockaddr_in));
  const auto* in = reinterpret_cast<const sockaddr_in*>(v4.data());
  EXPECT_EQ(ntohs(in->sin_port), 443);
  EXPECT_EQ(ntohl(in->sin_addr.s_addr), 0xc0000201U);
  const Address v6 = parsed("2001:db8::1", 443);
  ASSERT_EQ(v6.family(), AF_INET6);
  ASSERT_EQ(v6.size(), sizeof(sockaddr_in6));
  EXPECT_EQ(ntohs(reinterpret_cast<const sockaddr_in6*>(v6.data())->sin6_port), 443);
}

TEST(Address, GivesItsBytesInNetworkOrder) {
  using std::string_view_literals::operator""sv;
  EXPECT_EQ(parsed("192.0.2.1", 1).ip_bytes(), "\xc0\x00\x02\x01"sv);
  EXPECT_EQ(parsed("2001:db8::1", 1).ip_bytes(), "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"sv);
  EXPECT_EQ(Address().ip_bytes(), ""sv);
}

TEST(Address, ComparesByFamilyAddressAndPort) {
  EXPECT_EQ(parsed("192.0.2.1", 443), parsed("192.0.2.1", 443));
  EXPECT_EQ(parsed("2001:db8::1", 443), parsed("2001:db8:0::1", 443));
  EXPECT_NE(parsed("192.0.2.1", 443), parsed("192.0.2.1", 444));
  EXPECT_NE(parsed("192.0.2.1", 443), parsed("192.0.2.2", 443));
  EXPECT_NE(parsed("2001:db8::1", 443), parsed("2001:db8::2", 443));
  EXPECT_NE(parsed("192.0.2.1", 443), parsed("::ffff:192.0.2.1", 443));
  EXPECT_NE(parsed("0.0.0.0", 0), Address());
  EXPECT_EQ(Address(), Address());
}

TEST(Address, AnEmptyOneHasNothing) {
  const Address empty;
  EXPECT_EQ(empty.text(), "-");
  EXPECT_EQ(empty.port(), 0);
  EXPECT_EQ(empty.size(), 0u);
}

TEST(Address, IsTakenFromTheKernelsStructs) {
  for (const Address& original : {parsed("192.0.2.1", 443), parsed("2001:db8::1", 65535)}) {
    EXPECT_EQ(Address::from(original.data(), original.size()), original);
  }
}

TEST(Address, OfAnotherFamilyIsEmpty) {
  sockaddr_storage other{};
  other.ss_family = AF_UNIX;
  const auto* data = reinterpret_cast<const sockaddr*>(&other);
  for (const socklen_t size : {static_cast<socklen_t>(sizeof(sa_family_t)), socklen_t{110}}) {
    EXPECT_EQ(Address::from(data, size).text(), "-");
    EXPECT_EQ(Address::from(data, size).size(), 0u);
  }
  EXPECT_EQ(Address::from(data, 0), Address());
}

}  // namespace
}  // namespace tlsplice::net
