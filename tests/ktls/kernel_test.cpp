// Promised: key material wipes itself, and what the probe says of a kernel is what its sockets do. On a
// kernel without TLS the probe says which command would load it; where there is one, every cipher that it
// claims can be installed.
#include "tlsplice/ktls/kernel.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <new>

#include "pair.hpp"

namespace tlsplice::ktls {
namespace {

TEST(TrafficKeys, KnowTheirSizes) {
  EXPECT_EQ(key_bytes(Cipher::kAes128Gcm), 16U);
  EXPECT_EQ(key_bytes(Cipher::kAes256Gcm), 32U);
  EXPECT_EQ(key_bytes(Cipher::kChacha20Poly1305), 32U);
  EXPECT_STREQ(to_string(Cipher::kAes256Gcm), "AES-256-GCM");
}

TEST(TrafficKeys, AreWipedWhenTheyDie) {
  alignas(DirectionKeys) unsigned char memory[sizeof(DirectionKeys)];
  auto* keys = new (memory) DirectionKeys;
  keys->key.fill(0xaa);
  keys->secret.fill(0xbb);
  keys->~DirectionKeys();
  for (const unsigned char byte : memory) ASSERT_EQ(byte, 0);
}

TEST(Probe, SaysWhyThereIsNone) {
  const Support support = probe();
  if (support.ulp) GTEST_SKIP() << "this kernel has TLS";
  EXPECT_NE(support.why_not.find("modprobe tls"), std::string::npos) << support.why_not;
  EXPECT_FALSE(support.has(Version::kTls13, Cipher::kAes128Gcm));
  const Pair pair;
  EXPECT_EQ(attach(pair.a.get()), ENOENT);
}

TEST(Probe, ClaimsWhatCanBeInstalled) {
  const Support support = probe();
  if (!support.ulp) GTEST_SKIP() << support.why_not;
  EXPECT_TRUE(support.has(Version::kTls12, Cipher::kAes128Gcm));
  EXPECT_TRUE(support.has(Version::kTls13, Cipher::kAes256Gcm));
  EXPECT_TRUE(support.has(Version::kTls13, Cipher::kChacha20Poly1305));
}

TEST(Probe, KnowsEachWay) {
  const Support support = probe();
  if (!support.ulp) GTEST_SKIP() << support.why_not;
  EXPECT_TRUE(support.has(Version::kTls12, Cipher::kAes128Gcm, Way::kSend));
  EXPECT_TRUE(support.has(Version::kTls12, Cipher::kAes128Gcm, Way::kReceive));
  EXPECT_TRUE(support.splices);
  EXPECT_TRUE(support.keeps_records);
  EXPECT_TRUE(support.takes_no_padding);
  EXPECT_EQ(support.rekey, support.rekeys[0] && support.rekeys[1]);
}

TEST(Support, HasACipherOnlyBothWays) {
  Support support;
  support.ciphers[static_cast<int>(Way::kSend)][static_cast<int>(Version::kTls13)]
                 [static_cast<int>(Cipher::kAes256Gcm)] = true;
  EXPECT_TRUE(support.has(Version::kTls13, Cipher::kAes256Gcm, Way::kSend));
  EXPECT_FALSE(support.has(Version::kTls13, Cipher::kAes256Gcm, Way::kReceive));
  EXPECT_FALSE(support.has(Version::kTls13, Cipher::kAes256Gcm));
}

TEST(Probe, LeavesNothingBehind) {
  const auto lowest_free = [] { return base::Fd(::dup(0)).get(); };
  const int before = lowest_free();
  (void)probe();
  EXPECT_EQ(lowest_free(), before);
}

TEST(Attach, NeedsAnEstablishedConnection) {
  if (!probe().ulp) GTEST_SKIP() << probe().why_not;
  const base::Fd fresh(::socket(AF_INET, SOCK_STREAM, 0));
  EXPECT_EQ(attach(fresh.get()), ENOTCONN);
}

}  // namespace
}  // namespace tlsplice::ktls
