// Promised: every way in which a flow can end badly has its word in the log and its counter, and what the
// other side sees is as bad: a reset, never a clean end. Checked with peers that misbehave on real sockets.
#include <gtest/gtest.h>

#include "../relay/flow.hpp"
#include "service.hpp"

namespace tlsplice::session {
namespace {

using base::Milliseconds;
using policy::Protocol;
using tests::C;
using tests::Line;
using tests::receive;
using tests::Saw;
using tests::TlsPeer;

constexpr const char* kRubbish = "this is no TLS record at all";

class SessionEnds : public tests::ServiceTest {
 protected:
  void forward_with_tls() { forward_to({target_address()}, Protocol::kTls); }
  /// serve(), which is stopped meanwhile.
  Line cut(const tests::Act& client, const tests::Act& target = {}) {
    world_.run_for(Milliseconds(0));  // the ring's time stood still while keys were made
    uring::Gate gate(world_.ring());
    const auto stop_soon = [](tests::World& world) -> uring::Task<void> {
      uring::Stop own;
      co_await uring::Sleep(world.ring(), own, Milliseconds(100));
      world.stop().request();
    };
    uring::spawn(gate, stop_soon(world_));
    Line line = serve(client, target);
    world_.run_until_empty(gate);
    return line;
  }

  policy::Certificate certificate_ = tests::Certificates::shared().of(tests::Key::kRsa2048);
};

/// What a well-behaved peer sees of the other side's end.
void expect_reset(base::Fd& socket) {
  EXPECT_EQ(receive(socket.get()).end, Saw::kReset);
}
void wait_for_end(base::Fd& socket) {
  receive(socket.get());
}

/// A TLS client that shakes hands, says "x", and goes on as told.
tests::Act tls_client(const std::function<void(TlsPeer&)>& then) {
  return [then](base::Fd& socket) {
    TlsPeer peer = TlsPeer::client(std::move(socket));
    EXPECT_TRUE(peer.handshake() && peer.write("x")) << peer.failure();
    then(peer);
  };
}

TEST_F(SessionEnds, ClientReset) {
  const Line line = serve(
      [](base::Fd& socket) {
        tests::send_all(socket.get(), "x");
        EXPECT_EQ(receive(socket.get(), 1).bytes, "y");
        tests::reset(socket);
      },
      [](base::Fd& socket) {
        EXPECT_EQ(receive(socket.get(), 1).bytes, "x");
        tests::send_all(socket.get(), "y");
        expect_reset(socket);
      });
  EXPECT_EQ(line.at("end"), "client_reset");
  EXPECT_EQ(count(&C::TCP_Client_Reset_Count), 1u);
  EXPECT_EQ(count(&C::TCP_ELB_Reset_Count), 0u);
}

TEST_F(SessionEnds, TargetReset) {
  const Line line = serve(expect_reset, [](base::Fd& socket) { tests::reset(socket); });
  EXPECT_EQ(line.at("end"), "target_reset");
  EXPECT_EQ(count(&C::TCP_Target_Reset_Count), 1u);
  EXPECT_EQ(count(&C::TCP_Client_Reset_Count), 0u);
}

TEST_F(SessionEnds, TargetResetTowardsATlsClient) {
  listen_with_tls();
  const Line line = serve(tls_client([](TlsPeer& peer) { EXPECT_EQ(receive(peer.fd()).end, Saw::kReset); }),
                          [](base::Fd& socket) {
                            receive(socket.get(), 1);
                            tests::reset(socket);
                          });
  EXPECT_EQ(line.at("end"), "target_reset");
}

TEST_F(SessionEnds, ClientTruncated) {
  listen_with_tls();
  const Line line = serve(tls_client([](TlsPeer& peer) {
                            tests::end_write(peer.socket());
                            wait_for_end(peer.socket());
                          }),
                          expect_reset);
  EXPECT_EQ(line.at("end"), "client_truncated");
  EXPECT_EQ(count(&C::TruncatedCount), 1u);
  EXPECT_EQ(count(&C::TCP_ELB_Reset_Count), 1u);
}

TEST_F(SessionEnds, TruncationMayBePassedOnAsAFin) {
  listen_with_tls();
  service_.relay.truncation_resets = false;
  const Line line = serve(tls_client([](TlsPeer& peer) {
                            tests::end_write(peer.socket());
                            EXPECT_EQ(peer.read().bytes, "answer");
                          }),
                          [](base::Fd& socket) {
                            EXPECT_EQ(receive(socket.get()).end, Saw::kFin);
                            tests::send_all(socket.get(), "answer");
                          });
  EXPECT_EQ(line.at("end"), "closed");
  EXPECT_EQ(count(&C::TruncatedCount), 1u);
  EXPECT_EQ(count(&C::TCP_ELB_Reset_Count), 0u);
}

TEST_F(SessionEnds, TargetTruncated) {
  forward_with_tls();
  const Line line = serve(expect_reset, [&](base::Fd& socket) {
    TlsPeer peer = TlsPeer::server(std::move(socket), certificate_);
    EXPECT_TRUE(peer.handshake() && peer.write("cut sho"));
    tests::end_write(peer.socket());
    wait_for_end(peer.socket());
  });
  EXPECT_EQ(line.at("end"), "target_truncated");
  EXPECT_EQ(line.at("sent_bytes"), "7");
  EXPECT_EQ(count(&C::TruncatedCount), 1u);
}

// The client that broke TLS gets an alert, which a reset would overtake.
TEST_F(SessionEnds, ClientError) {
  listen_with_tls();
  const Line line = serve(tls_client([](TlsPeer& peer) {
                            tests::send_all(peer.fd(), kRubbish);
                            EXPECT_GT(receive(peer.fd()).bytes.size(), 7u);
                          }),
                          expect_reset);
  EXPECT_EQ(line.at("end"), "client_error");
  EXPECT_EQ(count(&C::TCP_ELB_Reset_Count), 1u);
}

TEST_F(SessionEnds, TargetError) {
  forward_with_tls();
  const Line line = serve(expect_reset, [&](base::Fd& socket) {
    TlsPeer peer = TlsPeer::server(std::move(socket), certificate_);
    EXPECT_TRUE(peer.handshake());
    tests::send_all(peer.fd(), kRubbish);
    wait_for_end(peer.socket());
  });
  EXPECT_EQ(line.at("end"), "target_error");
}

TEST_F(SessionEnds, IdleTimeout) {
  service_.relay.idle = Milliseconds(100);
  const Line line = serve(expect_reset, expect_reset);
  EXPECT_EQ(line.at("end"), "idle_timeout");
  EXPECT_EQ(count(&C::IdleTimeoutCount), 1u);
  EXPECT_EQ(count(&C::TCP_ELB_Reset_Count), 1u);
}

TEST_F(SessionEnds, HandshakeFailed) {
  listen_with_tls();
  const Line line = serve([](base::Fd& socket) {
    tests::send_all(socket.get(), "GET / HTTP/1.1\r\n\r\n");
    EXPECT_EQ(receive(socket.get()).end, Saw::kFin);
  });
  EXPECT_EQ(line.at("end"), "handshake_failed");
  EXPECT_EQ(line.at("detail"), "http request");
  EXPECT_EQ(line.at("protocol"), "-");
  EXPECT_EQ(line.at("target"), "-");
  EXPECT_EQ(count(&C::ClientTLSNegotiationErrorCount), 1u);
  EXPECT_EQ(count(&C::TCP_ELB_Reset_Count), 0u);
}

TEST_F(SessionEnds, HandshakeFailedForWantOfAVersion) {
  listen_with_tls();
  const Line line = serve([](base::Fd& socket) {
    TlsPeer peer = TlsPeer::client(std::move(socket), {TLS1_3_VERSION});
    EXPECT_FALSE(peer.handshake());
    EXPECT_EQ(peer.failure(), "tlsv1 alert protocol version");
  });
  EXPECT_EQ(line.at("end"), "handshake_failed");
  EXPECT_EQ(line.at("detail"), "unsupported protocol");
}

TEST_F(SessionEnds, HandshakeTimeout) {
  listen_with_tls();
  service_.handshake_timeout = Milliseconds(50);
  EXPECT_EQ(serve(wait_for_end).at("end"), "handshake_timeout");
  EXPECT_EQ(count(&C::ClientTLSNegotiationErrorCount), 1u);
}

TEST_F(SessionEnds, ClientGone) {
  listen_with_tls();
  EXPECT_EQ(serve([](base::Fd& socket) { socket.reset(); }).at("end"), "client_gone");
  EXPECT_EQ(serve([](base::Fd& socket) { tests::reset(socket); }).at("end"), "client_gone");
  EXPECT_EQ(count(&C::ClientTLSNegotiationErrorCount), 2u);
  EXPECT_EQ(count(&C::NewFlowCount_TLS), 2u);
}

TEST_F(SessionEnds, TargetRefused) {
  const auto refusing = nobody();
  forward_to({refusing}, Protocol::kTcp);
  const Line line = serve(expect_reset);
  EXPECT_EQ(line.at("end"), "target_refused");
  EXPECT_EQ(line.at("target"), "-");
  EXPECT_NE(line.at("detail").find(refusing.text()), std::string::npos) << line.at("detail");
  EXPECT_NE(line.at("detail").find("refused"), std::string::npos) << line.at("detail");
  EXPECT_EQ(count(&C::TCP_ELB_Reset_Count), 1u);
}

// A listener whose queue is full drops further SYNs.
TEST_F(SessionEnds, TargetTimeout) {
  const base::Fd full = tests::listening(0, 0);
  const auto address = net::local_address(full.get());
  std::vector<base::Fd> queued;
  for (int i = 0; i < 4; ++i) {
    queued.push_back(std::move(*net::stream_socket(address)));
    (void)::connect(queued.back().get(), address.data(), address.size());
  }
  std::this_thread::sleep_for(Milliseconds(50));
  forward_to({address}, Protocol::kTcp);
  service_.shares[0].group.connect_timeout = Milliseconds(100);
  EXPECT_EQ(serve(expect_reset).at("end"), "target_timeout");
  EXPECT_EQ(count(&C::TargetConnectionErrorCount), 1u);
}

TEST_F(SessionEnds, TargetHandshakeFailed) {
  forward_with_tls();
  Line line = serve(expect_reset, [](base::Fd& socket) {
    tests::send_all(socket.get(), kRubbish);
    wait_for_end(socket);
  });
  EXPECT_EQ(line.at("end"), "target_handshake_failed");
  EXPECT_EQ(line.at("target"), target_address().text());
  EXPECT_NE(line.at("detail"), "-");
  for (const tests::Act& unwilling : {tests::Act([](base::Fd& socket) { socket.reset(); }),
                                      tests::Act([](base::Fd& socket) { tests::reset(socket); })}) {
    EXPECT_EQ(serve(expect_reset, unwilling).at("end"), "target_handshake_failed");
  }
  service_.shares[0].group.connect_timeout = Milliseconds(100);
  EXPECT_EQ(serve(expect_reset, wait_for_end).at("end"), "target_handshake_failed");
  EXPECT_EQ(count(&C::TargetTLSNegotiationErrorCount), 4u);
  EXPECT_EQ(count(&C::TCP_ELB_Reset_Count), 4u);
}

TEST_F(SessionEnds, CutWhileRelaying) {
  EXPECT_EQ(cut(expect_reset, expect_reset).at("end"), "cut");
  EXPECT_EQ(count(&C::TCP_ELB_Reset_Count), 1u);
}

TEST_F(SessionEnds, CutInTheHandshake) {
  listen_with_tls();
  EXPECT_EQ(cut(wait_for_end).at("end"), "cut");
  EXPECT_EQ(count(&C::ClientTLSNegotiationErrorCount), 0u);
}

TEST_F(SessionEnds, CutInTheHandshakeWithTheTarget) {
  forward_with_tls();
  EXPECT_EQ(cut(expect_reset, wait_for_end).at("end"), "cut");
  EXPECT_EQ(count(&C::TargetTLSNegotiationErrorCount), 0u);
}

TEST_F(SessionEnds, Exhausted) {
  // First a flow like any other: the sanitizer's first look at each type needs descriptors of its own.
  const tests::Act end = [](base::Fd& socket) { tests::end_write(socket); };
  EXPECT_EQ(serve(end, end).at("end"), "closed");
  std::optional<tests::NoDescriptors> none;
  before_serving_ = [&](std::uint64_t&, const targets::FlowKey&) { none.emplace(); };
  const Line line = serve(expect_reset);
  none.reset();
  EXPECT_EQ(line.at("end"), "exhausted");
  EXPECT_NE(line.at("detail").find("Too many open files"), std::string::npos) << line.at("detail");
  EXPECT_EQ(count(&C::RejectedFlowCount_Descriptors), 1u);
  EXPECT_EQ(count(&C::TargetConnectionErrorCount), 0u);
}

TEST_F(SessionEnds, KtlsRequired) {
  listen_with_tls();
  service_.ktls = policy::Ktls::kRequire;
  const Line line = serve([](base::Fd& socket) {
    TlsPeer peer = TlsPeer::client(std::move(socket));
    EXPECT_TRUE(peer.handshake());
    EXPECT_EQ(peer.read().end, Saw::kReset);
  });
  EXPECT_EQ(line.at("end"), "ktls_required");
  EXPECT_EQ(line.at("client_ktls"), "no_kernel_tls");
  EXPECT_EQ(line.at("target"), "-");
  EXPECT_EQ(count(&C::KtlsRequiredErrorCount), 1u);
}

TEST_F(SessionEnds, KtlsRequiredTowardsTheTarget) {
  forward_with_tls();
  service_.shares[0].group.ktls = policy::Ktls::kRequire;
  const Line line = serve(expect_reset, [&](base::Fd& socket) {
    TlsPeer peer = TlsPeer::server(std::move(socket), certificate_);
    peer.handshake();
    wait_for_end(peer.socket());
  });
  EXPECT_EQ(line.at("end"), "ktls_required");
  EXPECT_EQ(line.at("target_ktls"), "no_kernel_tls");
  EXPECT_EQ(count(&C::KtlsRequiredErrorCount), 1u);
}

}  // namespace
}  // namespace tlsplice::session
