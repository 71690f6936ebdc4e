// Promised: of a connection whose records the kernel makes, its diagnostics tell version, cipher and who does
// the work, each way for itself: before the first key, with one way installed, with both. Needs a kernel with
// TLS, and root; tests/vm runs it on such.
#include <gtest/gtest.h>
#include <unistd.h>

#include "../ktls/pair.hpp"
#include "tlsplice/netlink/sockets.hpp"

namespace tlsplice::netlink {
namespace {

using ktls::Cipher;
using ktls::Version;
using ktls::Way;

class KernelTlsSockets : public testing::Test {
 protected:
  void SetUp() override {
    if (!support_.ulp) GTEST_SKIP() << support_.why_not;
    if (::geteuid() != 0) GTEST_SKIP() << "the kernel tells the TLS state only to root";
  }

  /// The kernel's word on our end.
  TcpSocket told() {
    const int socket = pair_.a.get();
    const auto sockets = tcp_sockets(
        {.local_port = net::local_address(socket).port(), .peer_port = net::peer_address(socket).port()});
    EXPECT_TRUE(sockets.has_value()) << sockets.error().text();
    EXPECT_EQ(sockets->size(), 1U);
    return sockets->empty() ? TcpSocket{} : sockets->front();
  }
  int install(Way way, Version version, Cipher cipher) {
    return ktls::install(pair_.a.get(), way, version, cipher, ktls::made_of(1));
  }

  ktls::Support support_ = ktls::probe();
  ktls::Pair pair_;
};

TEST_F(KernelTlsSockets, TheUlpIsNamedBeforeTheFirstKey) {
  ASSERT_EQ(ktls::attach(pair_.a.get()), 0);
  const TcpSocket socket = told();
  EXPECT_EQ(socket.ulp, "tls");
  ASSERT_TRUE(socket.tls.has_value());
  EXPECT_EQ(socket.tls->version_name(), "-");
  EXPECT_EQ(socket.tls->cipher_name(), "-");
  EXPECT_EQ(socket.tls->send, Records::kUserSpace);
  EXPECT_EQ(socket.tls->receive, Records::kUserSpace);
}

TEST_F(KernelTlsSockets, EachWayIsToldForItself) {
  ASSERT_EQ(ktls::attach(pair_.a.get()), 0);
  ASSERT_EQ(install(Way::kReceive, Version::kTls12, Cipher::kAes128Gcm), 0);
  const TcpSocket half = told();
  ASSERT_TRUE(half.tls.has_value());
  EXPECT_EQ(half.tls->send, Records::kUserSpace);
  EXPECT_EQ(half.tls->receive, Records::kSoftware);
  ASSERT_EQ(install(Way::kSend, Version::kTls12, Cipher::kAes128Gcm), 0);
  const TcpSocket whole = told();
  ASSERT_TRUE(whole.tls.has_value());
  EXPECT_EQ(whole.tls->send, Records::kSoftware);
  EXPECT_EQ(whole.tls->receive, Records::kSoftware);
  EXPECT_FALSE(whole.tls->zero_copy_send);
}

TEST_F(KernelTlsSockets, VersionAndCipherAreThoseInstalled) {
  for (const Version version : {Version::kTls12, Version::kTls13}) {
    for (const Cipher cipher : {Cipher::kAes128Gcm, Cipher::kAes256Gcm, Cipher::kChacha20Poly1305}) {
      pair_ = ktls::Pair();
      ASSERT_EQ(ktls::attach(pair_.a.get()), 0);
      ASSERT_EQ(install(Way::kReceive, version, cipher), 0);
      ASSERT_EQ(install(Way::kSend, version, cipher), 0);
      const TcpSocket socket = told();
      ASSERT_TRUE(socket.tls.has_value());
      EXPECT_EQ(socket.tls->version_name(), version == Version::kTls12 ? "TLSv1.2" : "TLSv1.3");
      EXPECT_EQ(socket.tls->cipher_name(), ktls::to_string(cipher));
    }
  }
}

TEST_F(KernelTlsSockets, ThatPaddingIsNotExpectedIsTold) {
  ASSERT_EQ(ktls::attach(pair_.a.get()), 0);
  ASSERT_EQ(install(Way::kReceive, Version::kTls13, Cipher::kAes128Gcm), 0);
  EXPECT_FALSE(told().tls->expects_no_padding);
  ktls::expect_no_padding(pair_.a.get());
  EXPECT_TRUE(told().tls->expects_no_padding);
}

TEST(KernelTlsNames, AreThoseThatPeopleKnow) {
  EXPECT_STREQ(to_string(Records::kSoftware), "sw");
  EXPECT_STREQ(to_string(Records::kHardwareRecord), "hw-record");
  KernelTls unknown;
  unknown.version = 0x0305;
  unknown.cipher = 1234;
  EXPECT_EQ(unknown.version_name(), "0x0305");
  EXPECT_EQ(unknown.cipher_name(), "0x04d2");
}

}  // namespace
}  // namespace tlsplice::netlink
