// Promised: a handshake ends within its limit, in a stream or in the right reason why there is none, and a
// client that was refused can read why. Checked over loopback TCP with OpenSSL clients in a thread, and with
// bytes by hand.
#include "tlsplice/tls/handshake.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "served.hpp"

namespace tlsplice::tls {
namespace {

using base::Fault;
using base::Milliseconds;
using tests::Certificates;
using tests::Connection;
using tests::Key;
using tests::kPatience;
using tests::Saw;
using tests::TlsPeer;
using tests::World;

class Handshake : public testing::Test {
 protected:
  Handshaken accept(base::Fd ours, Milliseconds limit = kPatience) {
    return world_.run(
        handshake(world_.ring(), world_.stop(), std::move(ours), context_, TlsStream::Role::kServer, limit));
  }
  /// What comes of a client that does this with its socket.
  template <typename Act>
  HandshakeError refuse(Act act, Milliseconds limit = kPatience) {
    Connection tcp = tests::connection();
    std::jthread peer([&] { act(tcp.peer); });
    auto result = accept(std::move(tcp.ours), limit);
    EXPECT_FALSE(result.has_value());
    return result ? HandshakeError{} : result.error();
  }

  World world_;
  Context context_ = tests::server_context(tests::kEveryVersion);
};

/// The first bytes that an OpenSSL client sends.
std::string client_hello(int version) {
  Connection tcp = tests::connection();
  TlsPeer client = TlsPeer::client(std::move(tcp.peer), {version});
  std::jthread peer([&] { client.handshake(); });
  const base::Fd ours = std::move(tcp.ours);
  ::fcntl(ours.get(), F_SETFL, 0);
  const std::string hello = tests::receive(ours.get(), 5).bytes;
  const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(hello.at(at)); };
  return hello + tests::receive(ours.get(), byte(3) * 256U + byte(4)).bytes;
}

TEST_F(Handshake, SucceedsInEveryVersion) {
  for (const auto& [version, name] : {std::pair(TLS1_VERSION, "TLSv1"),
                                      {TLS1_1_VERSION, "TLSv1.1"},
                                      {TLS1_2_VERSION, "TLSv1.2"},
                                      {TLS1_3_VERSION, "TLSv1.3"}}) {
    const auto both = tests::serve(world_, context_, {version});
    EXPECT_STREQ(both.stream->protocol(), name);
    EXPECT_STREQ(both.stream->cipher(), SSL_get_cipher_name(both.client.ssl()));
    EXPECT_EQ(SSL_version(both.client.ssl()), version);
  }
}

/// An issuer that OpenSSL would find elsewhere is no part of the file, and to look for one costs each
/// handshake.
TEST_F(Handshake, SendsTheChainThatItsFileHas) {
  const auto [certificate, issuer] = Certificates::shared().issued_by(Key::kRsa2048Another, Key::kRsa2048);
  policy::Listener listener;
  listener.certificate = certificate;
  for (const int sent : {1, 2}) {
    const auto context = Context::server(listener);
    ASSERT_TRUE(context.has_value());
    ASSERT_EQ(SSL_CTX_load_verify_file(context->get(), issuer.c_str()), 1);
    const auto both = tests::serve(world_, *context, {});
    EXPECT_EQ(sk_X509_num(SSL_get_peer_cert_chain(both.client.ssl())), sent);
    std::ofstream(certificate.chain, std::ios::app) << std::ifstream(issuer).rdbuf();
  }
}

TEST_F(Handshake, AnswersAHelloThatComesByteByByte) {
  const std::string hello = client_hello(TLS1_2_VERSION);
  char answer = 0;
  const auto error = refuse([&](base::Fd& peer) {
    for (const char& byte : hello) tests::send_all(peer.get(), {&byte, 1});
    answer = tests::receive(peer.get(), 1).bytes.at(0);
    tests::end_write(peer);
    tests::receive(peer.get());
  });
  EXPECT_EQ(answer, '\x16');  // a handshake record: the server's hello
  EXPECT_EQ(error.fault, Fault::kClosed);
}

TEST_F(Handshake, TimesOutOnSilence) {
  const auto error = refuse([](base::Fd& peer) { tests::receive(peer.get()); }, Milliseconds(50));
  EXPECT_EQ(error.fault, Fault::kTimedOut);
}

// The limit is for the whole handshake: a client cannot stretch it by sending now and then.
TEST_F(Handshake, TimesOutOnAHelloThatDrips) {
  const std::string hello = client_hello(TLS1_2_VERSION);
  const auto begun = base::now();
  const auto drip = [&](base::Fd& peer) {
    for (const char& byte : hello) {
      if (!tests::send_all(peer.get(), {&byte, 1})) return;
      std::this_thread::sleep_for(Milliseconds(10));
    }
  };
  EXPECT_EQ(refuse(drip, Milliseconds(100)).fault, Fault::kTimedOut);
  EXPECT_LT(base::now() - begun, kPatience / 2);
}

TEST_F(Handshake, RefusesGarbage) {
  const auto error = refuse([](base::Fd& peer) {
    tests::send_all(peer.get(), tests::pattern(4096, 1));
    tests::receive(peer.get());
  });
  EXPECT_EQ(error.fault, Fault::kProtocol);
  EXPECT_FALSE(error.detail.empty());
}

TEST_F(Handshake, NamesPlaintextHttp) {
  const auto error = refuse([](base::Fd& peer) {
    tests::send_all(peer.get(), "GET / HTTP/1.1\r\nHost: example\r\n\r\n");
    tests::receive(peer.get());
  });
  EXPECT_EQ(error.fault, Fault::kProtocol);
  EXPECT_EQ(error.detail, "http request");
  EXPECT_EQ(error.reason, NegotiationError::kNotTls);
}

TEST_F(Handshake, TellsWhatIsNoTls) {
  using std::string_literals::operator""s;
  for (const std::string& bytes : {"CONNECT example:443 HTTP/1.1\r\n\r\n"s, "SSH-2.0-OpenSSH_9.2\r\n"s,
                                   "\x00\x00\x00\x08\x04\xd2\x16\x2f"s, "\x16\x03\x01\xff\xff\x01"s}) {
    const auto error = refuse([&](base::Fd& peer) {
      tests::send_all(peer.get(), bytes);
      tests::receive(peer.get());
      peer.reset();
    });
    EXPECT_EQ(error.fault, Fault::kProtocol);
    EXPECT_EQ(error.reason, NegotiationError::kNotTls) << bytes << ": " << error.detail;
  }
}

TEST_F(Handshake, TellsWhatTheyDoNotHaveInCommon) {
  context_ = tests::server_context("ELBSecurityPolicy-TLS13-1-2-Res-2021-06");
  const auto offer = [&](tests::Terms terms, const char* groups) {
    return refuse([&](base::Fd& peer) {
      TlsPeer client = TlsPeer::client(std::move(peer), terms);
      if (groups != nullptr) SSL_set1_groups_list(client.ssl(), groups);
      client.handshake();
    });
  };
  EXPECT_EQ(offer({TLS1_1_VERSION}, nullptr).reason, NegotiationError::kProtocol);
  EXPECT_EQ(offer({TLS1_2_VERSION, "AES128-SHA"}, nullptr).reason, NegotiationError::kCipher);
  EXPECT_EQ(offer({TLS1_2_VERSION}, "X448").reason, NegotiationError::kCipher);
  EXPECT_EQ(offer({TLS1_3_VERSION}, "X448").reason, NegotiationError::kCipher);
}

// RFC 7507: a client that tries a lower version again says so, and a server that has a higher one refuses.
TEST_F(Handshake, TellsAFallbackFromTheRest) {
  const auto error = refuse([](base::Fd& peer) {
    TlsPeer client = TlsPeer::client(std::move(peer), {TLS1_1_VERSION});
    SSL_set_mode(client.ssl(), SSL_MODE_SEND_FALLBACK_SCSV);
    client.handshake();
  });
  EXPECT_EQ(error.detail, "inappropriate fallback");
  EXPECT_EQ(error.reason, NegotiationError::kProtocol);
}

TEST_F(Handshake, TellsThatTheClientRefused) {
  const std::string hello = client_hello(TLS1_2_VERSION);
  for (const char alert : {'\x28', '\x2a', '\x30', '\x46', '\x5a', '\x78'}) {  // RFC 8446 section 6
    const auto error = refuse([&](base::Fd& peer) {
      tests::send_all(peer.get(), hello);
      tests::receive(peer.get(), 1);
      tests::send_all(peer.get(), std::string("\x15\x03\x03\x00\x02\x02", 6) + alert);
      tests::receive(peer.get());
      peer.reset();
    });
    EXPECT_EQ(error.fault, Fault::kProtocol);
    EXPECT_EQ(error.reason, NegotiationError::kAlert) << int{alert} << ": " << error.detail;
  }
}

TEST_F(Handshake, NamesNoReasonForARecordThatIsOutOfPlace) {
  const auto error = refuse([](base::Fd& peer) {
    tests::send_all(peer.get(), std::string("\x17\x03\x03\x00\x01x", 6));  // application data
    tests::receive(peer.get());
    peer.reset();
  });
  EXPECT_EQ(error.fault, Fault::kProtocol);
  EXPECT_EQ(error.reason, NegotiationError::kOther) << error.detail;
}

TEST_F(Handshake, NoticesThatTheClientCloses) {
  EXPECT_EQ(refuse([](base::Fd& peer) { peer.reset(); }).fault, Fault::kClosed);
  const std::string hello = client_hello(TLS1_2_VERSION);
  const auto half = [&](base::Fd& peer) {
    tests::send_all(peer.get(), std::string_view(hello).substr(0, hello.size() / 2));
    tests::end_write(peer);
    tests::receive(peer.get());
  };
  EXPECT_EQ(refuse(half).fault, Fault::kClosed);
  const auto after_hello = [&](base::Fd& peer) {
    tests::send_all(peer.get(), hello);
    tests::end_write(peer);
    tests::receive(peer.get());
  };
  EXPECT_EQ(refuse(after_hello).fault, Fault::kClosed);
}

TEST_F(Handshake, NoticesThatTheClientResets) {
  EXPECT_EQ(refuse([](base::Fd& peer) { tests::reset(peer); }).fault, Fault::kReset);
  const std::string hello = client_hello(TLS1_3_VERSION);
  const auto after_hello = [&](base::Fd& peer) {
    tests::send_all(peer.get(), hello);
    tests::receive(peer.get(), 1);
    tests::reset(peer);
  };
  EXPECT_EQ(refuse(after_hello).fault, Fault::kReset);
}

uring::Task<void> stop_soon(World& world) {
  uring::Stop own;
  co_await uring::Sleep(world.ring(), own, Milliseconds(20));
  world.stop().request();
}

TEST_F(Handshake, EndsWhenItIsStopped) {
  Connection tcp = tests::connection();
  uring::Gate gate(world_.ring());
  uring::spawn(gate, stop_soon(world_));
  const auto result = accept(std::move(tcp.ours));
  world_.run_until_empty(gate);
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().fault, Fault::kStopped);
  Connection late = tests::connection();
  EXPECT_EQ(accept(std::move(late.ours)).error().fault, Fault::kStopped);
}

TEST_F(Handshake, TheAlertReachesTheClient) {
  context_ = tests::server_context(policy::kDefaultSslPolicy);
  std::string failure;
  const auto error = refuse([&](base::Fd& peer) {
    TlsPeer client = TlsPeer::client(std::move(peer), {TLS1_3_VERSION});
    client.handshake();
    failure = client.failure();
  });
  EXPECT_EQ(error.fault, Fault::kProtocol);
  EXPECT_EQ(error.detail, "unsupported protocol");
  EXPECT_EQ(failure, "tlsv1 alert protocol version");
}

// What the client sent beyond its hello is unread when the handshake fails; a plain close would reset the
// connection and the client would never see the alert (trap 99).
TEST_F(Handshake, TheAlertReachesAClientThatSentMore) {
  context_ = tests::server_context(policy::kDefaultSslPolicy);
  tests::Received answer;
  const std::string hello = client_hello(TLS1_3_VERSION);
  const auto error = refuse([&](base::Fd& peer) {
    tests::send_all(peer.get(), hello + tests::pattern(20'000, 2));
    std::this_thread::sleep_for(Milliseconds(100));
    tests::end_write(peer);
    answer = tests::receive(peer.get());
  });
  EXPECT_EQ(error.fault, Fault::kProtocol);
  EXPECT_EQ(answer.end, Saw::kFin);
  ASSERT_EQ(answer.bytes.size(), 7u);
  EXPECT_EQ(answer.bytes.substr(0, 2), std::string("\x15\x03"));  // an alert,
  EXPECT_EQ(answer.bytes.substr(5), std::string("\x02\x46"));     // fatal, protocol_version
}

// Nor can such a client hold on to us for long.
TEST_F(Handshake, AFailedHandshakeEndsSoon) {
  context_ = tests::server_context(policy::kDefaultSslPolicy);
  const std::string hello = client_hello(TLS1_3_VERSION);
  const auto begun = base::now();
  Connection tcp = tests::connection();
  tests::send_all(tcp.peer.get(), hello);
  EXPECT_EQ(accept(std::move(tcp.ours)).error().fault, Fault::kProtocol);
  EXPECT_LT(base::now() - begun, Milliseconds(5000));
}

class TargetHandshake : public testing::Test {
 protected:
  /// With a TLS target of that certificate.
  Handshaken meet(const policy::Certificate& certificate, tests::Terms terms = {}) {
    Connection tcp = tests::connection();
    TlsPeer target = TlsPeer::server(std::move(tcp.peer), certificate, terms);
    std::jthread peer([&] { target.handshake(); });
    return world_.run(handshake(world_.ring(), world_.stop(), std::move(tcp.ours), context_,
                                TlsStream::Role::kClient, kPatience));
  }

  World world_;
  Context context_ = std::move(*Context::client());
};

TEST_F(TargetHandshake, TakesAnyCertificate) {
  auto& certificates = tests::Certificates::shared();
  for (const auto& certificate :
       {certificates.of(tests::Key::kRsa2048, {-30, -1}), certificates.of(tests::Key::kRsa1024),
        certificates.of(tests::Key::kEcP256), certificates.of(tests::Key::kRsa4096)}) {
    const auto stream = meet(certificate);
    ASSERT_TRUE(stream.has_value()) << stream.error().text();
    EXPECT_STREQ((*stream)->protocol(), "TLSv1.2");
  }
}

TEST_F(TargetHandshake, TakesTheVersionsOfTheDefaultPolicy) {
  const auto certificate = tests::Certificates::shared().of(tests::Key::kRsa2048);
  EXPECT_STREQ((*meet(certificate, {TLS1_VERSION}))->protocol(), "TLSv1");
  EXPECT_STREQ((*meet(certificate, {TLS1_1_VERSION}))->protocol(), "TLSv1.1");
  const auto refused = meet(certificate, {TLS1_3_VERSION});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().fault, Fault::kProtocol);
  EXPECT_NE(refused.error().detail.find("protocol version"), std::string::npos) << refused.error().detail;
}

}  // namespace
}  // namespace tlsplice::tls
