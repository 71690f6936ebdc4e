// Promised: a handshake gives way between its messages to those who move bytes, and a burst of handshakes
// between its steps. Checked with a coroutine that has something to do in every turn, and counts them.
#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "served.hpp"
#include "tlsplice/tls/handshake.hpp"

namespace tlsplice::tls {
namespace {

using tests::Connection;
using tests::kPatience;
using tests::TlsPeer;
using tests::World;

uring::Task<void> collect(World& world, const Context& context, base::Fd ours,
                          std::vector<Handshaken>& results, TlsStream::Role role = TlsStream::Role::kServer) {
  results.push_back(
      co_await handshake(world.ring(), world.stop(), std::move(ours), context, role, kPatience));
}

/// Somebody to give way to, as long as the gate counts anybody else.
uring::Task<void> move_bytes(uring::Ring& ring, const uring::Gate& others, std::size_t& turns) {
  while (others.inside() > 0) {
    ring.note_traffic();
    ++turns;
    co_await uring::Yield(ring);
  }
}

/// How many turns those who move bytes had in that round of the loop that gave them the most, while `task`
/// ran.
std::size_t most_turns_in_a_round(World& world, uring::Task<void> task) {
  uring::Ring& ring = world.ring();
  uring::Gate gate(ring);
  uring::Gate beside(ring);
  std::size_t turns = 0;
  std::size_t most = 0;
  uring::spawn(gate, std::move(task));
  uring::spawn(beside, move_bytes(ring, gate, turns));
  while (gate.inside() > 0) {
    const std::size_t before = turns;
    EXPECT_TRUE(ring.run_once().has_value());
    most = std::max(most, turns - before);
  }
  world.run_until_empty(beside);
  return most;
}

struct HandshakeTurns : testing::Test {
  World world_;
  Context context_ = tests::server_context(tests::kEveryVersion);
  std::vector<Handshaken> results_;

  void expect_turns(base::Fd ours, TlsPeer peer, const Context& context, TlsStream::Role role) {
    std::jthread thread([&] { peer.handshake(); });
    EXPECT_GE(most_turns_in_a_round(world_, collect(world_, context, std::move(ours), results_, role)), 2u);
    ASSERT_EQ(results_.size(), 1u);
    EXPECT_TRUE(results_[0].has_value());
  }
};

TEST_F(HandshakeTurns, AClientsComeBetweenItsMessages) {
  Connection tcp = tests::connection();
  expect_turns(std::move(tcp.ours), TlsPeer::client(std::move(tcp.peer), {TLS1_3_VERSION}), context_,
               TlsStream::Role::kServer);
}

TEST_F(HandshakeTurns, ATargetsComeBetweenItsMessages) {
  Connection tcp = tests::connection();
  const Context towards_targets = Context::client().value();
  expect_turns(std::move(tcp.ours),
               TlsPeer::server(std::move(tcp.peer), tests::Certificates::shared().of(tests::Key::kRsa2048)),
               towards_targets, TlsStream::Role::kClient);
}

/// So that a burst of clients does not hold up those who move bytes.
TEST_F(HandshakeTurns, ABurstDoesNotTakeItsStepsInOneRound) {
  constexpr std::size_t kClients = 30;
  std::vector<base::Fd> clients;
  uring::Gate gate(world_.ring());
  for (std::size_t i = 0; i < kClients; ++i) {
    Connection tcp = tests::connection();
    ASSERT_EQ(::send(tcp.peer.get(), "GET / HTTP/1.1\r\n\r\n", 18, 0), 18);
    clients.push_back(std::move(tcp.peer));
    uring::spawn(gate, collect(world_, context_, std::move(tcp.ours), results_));
  }
  // Each one is refused in its first step, and its client then sees the end.
  const auto refused = [&] {
    return static_cast<std::size_t>(std::ranges::count_if(clients, [](const base::Fd& client) {
      pollfd state{.fd = client.get(), .events = POLLIN, .revents = 0};
      return ::poll(&state, 1, 0) == 1;
    }));
  };
  std::size_t before = refused();
  EXPECT_EQ(before, 0u);
  int rounds = 0;
  std::size_t turns = 0;
  uring::Gate beside(world_.ring());
  uring::spawn(beside, move_bytes(world_.ring(), gate, turns));
  while (before < kClients) {
    ASSERT_TRUE(world_.ring().run_once().has_value());
    const std::size_t now = refused();
    EXPECT_LT(now - before, kClients / 2);
    rounds += now > before;
    before = now;
  }
  EXPECT_GE(rounds, 3);
  clients.clear();
  world_.run_until_empty(beside);
  EXPECT_EQ(results_.size(), kClients);
}

}  // namespace
}  // namespace tlsplice::tls
