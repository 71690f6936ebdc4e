// Promised: a connection is served from its handshake to one log line, whatever listener and target group
// speak, and the counters agree with that line; a target that refuses is replaced by the next one, once.
// Checked with real sockets, TLS peers made of plain OpenSSL, and a log that is a pipe. The ways to end badly
// are in session_ends_test.cpp.
#include "tlsplice/session/session.hpp"

#include <gtest/gtest.h>

#include "service.hpp"

namespace tlsplice::session {
namespace {

using policy::Protocol;
using tests::C;
using tests::Line;
using tests::Saw;
using tests::TlsPeer;
using uring::Task;

class SessionTest : public tests::ServiceTest {
 protected:
  policy::Certificate certificate_ = tests::Certificates::shared().of(tests::Key::kRsa2048);

  /// Peers that speak TCP or TLS: the client says "ping" and ends, the target answers "pong!" and ends.
  tests::Act client(Protocol protocol) {
    if (protocol == Protocol::kTls) {
      return [](base::Fd& socket) {
        TlsPeer peer = TlsPeer::client(std::move(socket), {TLS1_2_VERSION, "ECDHE-RSA-AES128-GCM-SHA256"});
        EXPECT_TRUE(peer.handshake() && peer.write("ping") && peer.close_notify()) << peer.failure();
        const auto answer = peer.read();
        EXPECT_EQ(answer.bytes, "pong!");
        EXPECT_EQ(answer.end, Saw::kFin);
      };
    }
    return [](base::Fd& socket) {
      tests::send_all(socket.get(), "ping");
      tests::end_write(socket);
      const auto answer = tests::receive(socket.get());
      EXPECT_EQ(answer.bytes, "pong!");
      EXPECT_EQ(answer.end, Saw::kFin);
    };
  }
  tests::Act target(Protocol protocol) {
    if (protocol == Protocol::kTls) {
      return [this](base::Fd& socket) {
        TlsPeer peer = TlsPeer::server(std::move(socket), certificate_);
        EXPECT_TRUE(peer.handshake()) << peer.failure();
        EXPECT_EQ(peer.read().bytes, "ping");
        EXPECT_TRUE(peer.write("pong!") && peer.close_notify()) << peer.failure();
      };
    }
    return [](base::Fd& socket) {
      EXPECT_EQ(tests::receive(socket.get()).bytes, "ping");
      tests::send_all(socket.get(), "pong!");
      tests::end_write(socket);
    };
  }
};

Task<void> watch(uring::Ring& ring, const bool& over, bool& traffic) {
  while (!over) {
    traffic |= ring.beside_traffic();
    co_await uring::Yield(ring);
  }
}

/// What handshakes give way to is traffic; a first request and its answer are none yet.
TEST_F(SessionTest, MoreThanOneExchangeIsTraffic) {
  for (const int exchanges : {1, 2}) {
    bool over = false;
    bool traffic = false;
    uring::Gate gate(world_.ring());
    uring::spawn(gate, watch(world_.ring(), over, traffic));
    serve(
        [&](base::Fd& socket) {
          for (int i = 0; i < exchanges; ++i) {
            tests::send_all(socket.get(), "x");
            EXPECT_EQ(tests::receive(socket.get(), 1).bytes, "y");
          }
          tests::end_write(socket);
          tests::receive(socket.get());
        },
        [&](base::Fd& socket) {
          for (int i = 0; i < exchanges; ++i) {
            EXPECT_EQ(tests::receive(socket.get(), 1).bytes, "x");
            tests::send_all(socket.get(), "y");
          }
          tests::end_write(socket);
          tests::receive(socket.get());
        });
    over = true;
    world_.run_until_empty(gate);
    EXPECT_EQ(traffic, exchanges > 1);
  }
}

/// Listener's protocol, target group's protocol.
class Pairing : public SessionTest, public testing::WithParamInterface<std::pair<Protocol, Protocol>> {};

TEST_P(Pairing, IsServedAndRecorded) {
  const auto [front, back] = GetParam();
  if (front == Protocol::kTls) listen_with_tls();
  forward_to({target_address()}, back);
  const Line line = serve(client(front), target(back));
  EXPECT_EQ(line.at("event"), "flow");
  EXPECT_EQ(line.at("level"), "info");
  EXPECT_EQ(line.at("listener"), "web");
  EXPECT_EQ(line.at("client"), client_address_.text());
  EXPECT_EQ(line.at("target"), target_address().text());
  EXPECT_EQ(line.at("protocol"), front == Protocol::kTls ? "TLSv1.2" : "-");
  EXPECT_EQ(line.at("cipher"), front == Protocol::kTls ? "ECDHE-RSA-AES128-GCM-SHA256" : "-");
  EXPECT_EQ(line.at("received_bytes"), "4");
  EXPECT_EQ(line.at("sent_bytes"), "5");
  EXPECT_EQ(line.at("end"), "closed");
  EXPECT_EQ(line.at("detail"), "-");
  EXPECT_LT(std::stoi(line.at("duration_ms")), 10'000);
}

TEST_P(Pairing, IsCounted) {
  const auto [front, back] = GetParam();
  if (front == Protocol::kTls) listen_with_tls();
  forward_to({target_address()}, back);
  serve(client(front), target(back));
  serve(client(front), target(back));
  const bool tls = front == Protocol::kTls;
  EXPECT_EQ(count(&C::NewFlowCount), 2u);
  EXPECT_EQ(count(&C::NewFlowCount_TLS), tls ? 2u : 0u);
  EXPECT_EQ(count(&C::NewFlowCount_TCP), tls ? 0u : 2u);
  EXPECT_EQ(count(&C::ProcessedBytes), 18u);
  EXPECT_EQ(count(&C::ProcessedBytes_TLS), tls ? 18u : 0u);
  EXPECT_EQ(count(&C::ProcessedBytes_TCP), tls ? 0u : 18u);
  EXPECT_EQ(count(&C::SplicedBytes), 0u);
  const observe::Counter bad[] = {&C::ClientTLSNegotiationErrorCount,
                                  &C::TargetTLSNegotiationErrorCount,
                                  &C::TargetConnectionErrorCount,
                                  &C::TCP_Client_Reset_Count,
                                  &C::TCP_Target_Reset_Count,
                                  &C::TCP_ELB_Reset_Count,
                                  &C::TruncatedCount,
                                  &C::IdleTimeoutCount};
  for (const observe::Counter counter : bad) EXPECT_EQ(count(counter), 0u);
}

INSTANTIATE_TEST_SUITE_P(
    Session, Pairing,
    testing::Values(std::pair(Protocol::kTcp, Protocol::kTcp), std::pair(Protocol::kTls, Protocol::kTcp),
                    std::pair(Protocol::kTcp, Protocol::kTls), std::pair(Protocol::kTls, Protocol::kTls)),
    [](const auto& each) {
      return std::string(to_string(each.param.first)) + "to" + to_string(each.param.second);
    });

TEST_F(SessionTest, CarriesAndSplicesBulk) {
  const std::string bytes = tests::pattern(16 * 1024 * 1024, 1);
  const Line line = serve(
      [&](base::Fd& socket) {
        tests::send_all(socket.get(), bytes);
        tests::end_write(socket);
        EXPECT_EQ(tests::receive(socket.get()).end, Saw::kFin);
      },
      [&](base::Fd& socket) { EXPECT_TRUE(tests::receive(socket.get()).bytes == bytes); });
  EXPECT_EQ(line.at("received_bytes"), std::to_string(bytes.size()));
  EXPECT_EQ(count(&C::ProcessedBytes), bytes.size());
  EXPECT_GT(count(&C::SplicedBytes), bytes.size() / 2);
  EXPECT_LE(count(&C::SplicedBytes), bytes.size());
}

TEST_F(SessionTest, SaysWhyTlsStaysInUserSpace) {
  listen_with_tls();
  forward_to({target_address()}, Protocol::kTls);
  Line line = serve(client(Protocol::kTls), target(Protocol::kTls));
  EXPECT_EQ(line.at("client_ktls"), "no_kernel_tls");
  EXPECT_EQ(line.at("target_ktls"), "no_kernel_tls");
  EXPECT_EQ(count(&C::UserTlsConnectionCount_Kernel), 2u);
  service_.ktls = policy::Ktls::kOff;
  line = serve(client(Protocol::kTls), target(Protocol::kTls));
  EXPECT_EQ(line.at("client_ktls"), "off");
  EXPECT_EQ(count(&C::UserTlsConnectionCount_Off), 1u);
  EXPECT_EQ(count(&C::KtlsConnectionCount), 0u);
}

using Seeder = std::function<void(std::uint64_t&, const targets::FlowKey&)>;

/// Makes these targets of a group that nobody has checked the first and the second choice of the next flow.
Seeder choosing(std::size_t first, std::size_t second, std::size_t count) {
  return [=](std::uint64_t& seed, const targets::FlowKey& key) {
    const tlsplice_target_group unchecked{};
    const auto chosen = [&](std::optional<std::size_t> refused) {
      return targets::choose_usable(unchecked, count, targets::flow_hash(key, seed), refused);
    };
    while (chosen({}) != first || chosen(first) != second) ++seed;
  };
}

TEST_F(SessionTest, TakesTheTargetThatTheFlowHashChooses) {
  forward_to({nobody(), target_address(), nobody()}, Protocol::kTcp);
  before_serving_ = choosing(1, 0, 3);
  EXPECT_EQ(serve(client(Protocol::kTcp), target(Protocol::kTcp)).at("end"), "closed");
  EXPECT_EQ(count(&C::TargetConnectionErrorCount), 0u);
}

TEST_F(SessionTest, TakesAnotherTargetWhenTheFirstRefuses) {
  forward_to({target_address(), nobody(), nobody()}, Protocol::kTcp);
  before_serving_ = choosing(2, 0, 3);
  const Line line = serve(client(Protocol::kTcp), target(Protocol::kTcp));
  EXPECT_EQ(line.at("end"), "closed");
  EXPECT_EQ(line.at("target"), target_address().text());
  EXPECT_EQ(count(&C::TargetConnectionErrorCount), 1u);
  EXPECT_EQ(count(&C::TCP_ELB_Reset_Count), 0u);
}

TEST_F(SessionTest, TakesAnotherTargetOnlyOnce) {
  forward_to({target_address(), nobody(), nobody()}, Protocol::kTcp);
  before_serving_ = choosing(1, 2, 3);
  const Line line = serve([](base::Fd& socket) { EXPECT_EQ(tests::receive(socket.get()).end, Saw::kReset); });
  EXPECT_EQ(line.at("end"), "target_refused");
  EXPECT_EQ(count(&C::TargetConnectionErrorCount), 2u);
}

TEST_F(SessionTest, TakesOnlyTargetsThatAreToBeUsed) {
  forward_to({nobody(), nobody(), target_address(), nobody()}, Protocol::kTcp);
  health_.group(0).usable[0] = 0b0100;
  for (int i = 0; i < 5; ++i)
    EXPECT_EQ(serve(client(Protocol::kTcp), target(Protocol::kTcp)).at("end"), "closed");
  EXPECT_EQ(count(&C::TargetConnectionErrorCount), 0u);
}

TEST_F(SessionTest, TriesNoTargetThatIsNotToBeUsed) {
  forward_to({target_address(), nobody(), target_address()}, Protocol::kTcp);
  health_.group(0).usable[0] = 0b0010;
  const Line line = serve([](base::Fd& socket) { EXPECT_EQ(tests::receive(socket.get()).end, Saw::kReset); });
  EXPECT_EQ(line.at("end"), "target_refused");
  EXPECT_EQ(count(&C::TargetConnectionErrorCount), 1u);
}

TEST_F(SessionTest, TriesTheOnlyTargetOnce) {
  forward_to({nobody()}, Protocol::kTcp);
  serve([](base::Fd& socket) { EXPECT_EQ(tests::receive(socket.get()).end, Saw::kReset); });
  EXPECT_EQ(count(&C::TargetConnectionErrorCount), 1u);
}

}  // namespace
}  // namespace tlsplice::session
