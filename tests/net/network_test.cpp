// Promised: an address is in a network when the first bits agree, to the bit, and never across families.
#include "tlsplice/net/network.hpp"

#include <gtest/gtest.h>

namespace tlsplice::net {
namespace {

bool contains(const char* base, unsigned prefix, const char* address) {
  return Network(*Address::parse(base, 0), prefix).contains(*Address::parse(address, 50'000));
}

TEST(Network, ComparesBits) {
  EXPECT_TRUE(contains("10.0.0.0", 8, "10.255.255.255"));
  EXPECT_FALSE(contains("10.0.0.0", 8, "11.0.0.0"));
  EXPECT_TRUE(contains("192.0.2.128", 25, "192.0.2.128"));
  EXPECT_FALSE(contains("192.0.2.128", 25, "192.0.2.127"));
  EXPECT_TRUE(contains("192.0.2.1", 32, "192.0.2.1"));
  EXPECT_FALSE(contains("192.0.2.1", 32, "192.0.2.0"));
  EXPECT_TRUE(contains("2001:db8::", 33, "2001:db8:7fff::1"));
  EXPECT_FALSE(contains("2001:db8::", 33, "2001:db8:8000::1"));
  EXPECT_TRUE(contains("2001:db8::1", 128, "2001:db8::1"));
}

TEST(Network, OfNoBitsHasAllOfItsFamily) {
  EXPECT_TRUE(contains("0.0.0.0", 0, "255.255.255.255"));
  EXPECT_FALSE(contains("0.0.0.0", 0, "::1"));
  EXPECT_FALSE(contains("::", 0, "192.0.2.1"));
  EXPECT_FALSE(Network(*Address::parse("::", 0), 0).contains(Address()));
}

}  // namespace
}  // namespace tlsplice::net
