// Promised: the relay passes every byte on, both directions at once, for many flows on one thread, in bounded
// memory; nothing of a flow that was cut reaches another. Checked over loopback TCP with peers in threads, by
// comparing all bytes. How flows end is in relay_ends_test.cpp.
#include "tlsplice/relay/relay.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>

#include <list>

#include "flow.hpp"

namespace tlsplice::relay {
namespace {

using tests::Flow;
using tests::Measured;
using tests::receive;
using tests::Saw;
using tests::World;

constexpr std::size_t kMiB = 1024 * 1024;

class Relay : public testing::Test {
 protected:
  template <typename Client, typename Target>
  Measured relayed(Flow& flow, Client client, Target target, Limits limits = tests::kPatient) {
    return tests::relayed(world_, pools_, flow, client, target, limits);
  }
  /// One direction carries that many bytes, both end cleanly.
  Measured pass(std::size_t size, std::uint64_t seed) {
    Flow flow;
    const std::string bytes = tests::pattern(size, seed);
    const auto send = [&](base::Fd& client) {
      tests::send_in_pieces(client.get(), bytes, seed);
      tests::end_write(client);
      EXPECT_EQ(receive(client.get()).end, Saw::kFin);
    };
    const auto take = [&](base::Fd& target) {
      EXPECT_TRUE(receive(target.get()).bytes == bytes);
      tests::end_write(target);
    };
    return relayed(flow, send, take);
  }

  World world_;
  Pools pools_;
};

/// Sends and receives at once; what was received.
std::string exchange(base::Fd& peer, std::string_view bytes, std::uint64_t seed) {
  std::jthread sender([&] {
    tests::send_in_pieces(peer.get(), bytes, seed);
    tests::end_write(peer);
  });
  return receive(peer.get()).bytes;
}

/// Sends until the connection has taken nothing for a while; how much it took.
std::size_t fill(int socket) {
  ::fcntl(socket, F_SETFL, O_NONBLOCK);
  const std::string piece(64 * 1024, 'x');
  std::size_t taken = 0;
  for (int quiet = 0; quiet < 20;) {
    const ssize_t n = ::send(socket, piece.data(), piece.size(), MSG_NOSIGNAL);
    if (n > 0) {
      taken += static_cast<std::size_t>(n);
      quiet = 0;
    } else {
      ++quiet;
      std::this_thread::sleep_for(base::Milliseconds(10));
    }
  }
  ::fcntl(socket, F_SETFL, 0);
  return taken;
}

TEST_F(Relay, PassesBothDirectionsAtOnce) {
  const std::string up = tests::pattern(64 * kMiB, 1);
  const std::string down = tests::pattern(64 * kMiB, 2);
  Flow flow;
  const auto outcome = relayed(
      flow, [&](base::Fd& client) { EXPECT_TRUE(exchange(client, up, 3) == down); },
      [&](base::Fd& target) { EXPECT_TRUE(exchange(target, down, 4) == up); });
  EXPECT_EQ(outcome.finish, Finish::kClosed);
  EXPECT_FALSE(outcome.truncated);
  EXPECT_EQ(outcome.received, up.size());
  EXPECT_EQ(outcome.sent, down.size());
  EXPECT_LE(outcome.spliced, outcome.received + outcome.sent);
}

TEST_F(Relay, SplicesBulk) {
  Flow flow;
  const std::string bytes = tests::pattern(64 * kMiB, 5);
  const auto outcome = relayed(
      flow,
      [&](base::Fd& client) {
        tests::send_all(client.get(), bytes);
        tests::end_write(client);
        receive(client.get());
      },
      [&](base::Fd& target) {
        EXPECT_TRUE(receive(target.get()).bytes == bytes);
        tests::end_write(target);
      });
  EXPECT_EQ(outcome.received, bytes.size());
  EXPECT_GT(outcome.spliced, bytes.size() / 2);
}

TEST_F(Relay, CopiesSmallMessages) {
  Flow flow;
  const auto outcome = relayed(
      flow,
      [&](base::Fd& client) {
        for (int i = 0; i < 1000; ++i) {
          tests::send_all(client.get(), "ping");
          ASSERT_EQ(receive(client.get(), 4).bytes, "pong");
        }
        tests::end_write(client);
        EXPECT_EQ(receive(client.get()).end, Saw::kFin);
      },
      [&](base::Fd& target) {
        while (receive(target.get(), 4).bytes == "ping") tests::send_all(target.get(), "pong");
        tests::end_write(target);
      });
  EXPECT_EQ(outcome.finish, Finish::kClosed);
  EXPECT_EQ(outcome.received, 4000u);
  EXPECT_EQ(outcome.sent, 4000u);
  EXPECT_EQ(outcome.spliced, 0u);
}

TEST_F(Relay, AFlowWithoutBytesEndsToo) {
  const auto outcome = pass(0, 6);
  EXPECT_EQ(outcome.finish, Finish::kClosed);
  EXPECT_EQ(outcome.received + outcome.sent + outcome.spliced, 0u);
}

TEST_F(Relay, CarriesManyFlowsAtOnce) {
  constexpr std::size_t kFlows = 24;
  std::list<Flow> flows;
  std::vector<std::jthread> peers;
  uring::Gate gate(world_.ring());
  std::vector<std::optional<Measured>> outcomes(kFlows);
  const auto keep = [](uring::Task<Measured> task, std::optional<Measured>& outcome) -> uring::Task<void> {
    outcome.emplace(co_await std::move(task));
  };
  std::vector<std::string> ups;
  std::vector<std::string> downs;
  for (std::uint64_t i = 0; i < kFlows; ++i) {
    ups.push_back(tests::pattern(2 * kMiB, 100 + i));
    downs.push_back(tests::pattern(2 * kMiB, 200 + i));
  }
  for (std::size_t i = 0; i < kFlows; ++i) {
    Flow& flow = flows.emplace_back();
    peers.emplace_back([&, i] { EXPECT_TRUE(exchange(flow.client, ups[i], i) == downs[i]); });
    peers.emplace_back([&, i] { EXPECT_TRUE(exchange(flow.target, downs[i], i) == ups[i]); });
    uring::spawn(gate, keep(flow.relayed(world_, pools_), outcomes[i]));
  }
  world_.run_until_empty(gate);
  peers.clear();
  for (const auto& outcome : outcomes) {
    EXPECT_EQ(outcome->finish, Finish::kClosed);
    EXPECT_EQ(outcome->received + outcome->sent, 4 * kMiB);
  }
}

// Flows that stay open after a bulk transfer share one pipe between them, one after the other.
TEST_F(Relay, AQuietFlowHoldsNoPipe) {
  const std::size_t before = tests::open_pipes();
  constexpr int kFlows = 10;
  std::list<Flow> flows;
  uring::Gate gate(world_.ring());
  const auto forget = [](uring::Task<Measured> task) -> uring::Task<void> { co_await std::move(task); };
  for (std::uint64_t i = 0; i < kFlows; ++i) {
    Flow& flow = flows.emplace_back();
    uring::spawn(gate, forget(flow.relayed(world_, pools_)));
    const std::string bytes = tests::pattern(4 * kMiB, i);
    std::atomic<bool> done = false;
    std::jthread sender([&] { tests::send_all(flow.client.get(), bytes); });
    std::jthread receiver([&] {
      EXPECT_TRUE(receive(flow.target.get(), bytes.size()).bytes == bytes);
      done = true;
    });
    while (!done) world_.run_for(base::Milliseconds(5));
    world_.run_for(base::Milliseconds(5));
  }
  EXPECT_EQ(tests::open_pipes(), before + 2);
  world_.stop().request();
  world_.run_until_empty(gate);
}

/// Every pipe at rest in the pool, which is thereby emptied.
void expect_pipes_at_rest_are_empty(Pools& pools) {
  const std::size_t open = tests::open_pipes();
  std::vector<std::unique_ptr<Pipe>> leased;
  for (leased.push_back(pools.pipes.take()); tests::open_pipes() == open;
       leased.push_back(pools.pipes.take())) {
    int held = -1;
    ASSERT_EQ(::ioctl(leased.back()->read_end.get(), FIONREAD, &held), 0);
    EXPECT_EQ(held, 0);
  }
}

TEST_F(Relay, PoolsAreAtRestAfterwards) {
  const std::size_t before = tests::open_pipes();
  for (std::uint64_t i = 0; i < 5; ++i) EXPECT_EQ(pass(4 * kMiB, i).finish, Finish::kClosed);
  EXPECT_EQ(tests::open_pipes(), before + 2);
  expect_pipes_at_rest_are_empty(pools_);
}

// A flow whose target does not read is cut while its pipe holds bytes; the next flow leases from the same
// pool.
TEST_F(Relay, AFlowCutMidSpliceLeaksNothingToTheNext) {
  for (std::uint64_t i = 0; i < 3; ++i) {
    Flow cut;
    const auto outcome = relayed(
        cut, [&](base::Fd& client) { fill(client.get()); },
        [&](base::Fd& target) { receive(target.get(), 2 * kMiB); },
        {.idle = base::Milliseconds(500), .truncation_resets = true});
    EXPECT_EQ(outcome.finish, Finish::kIdle);
    EXPECT_GT(outcome.spliced, 0u);
    EXPECT_EQ(pass(4 * kMiB, i).finish, Finish::kClosed);
  }
  expect_pipes_at_rest_are_empty(pools_);
}

/// The same bytes both ways at once.
Measured both_ways(World& world, Pools& pools, std::string_view bytes, bool descriptors) {
  Flow flow;
  std::optional<tests::NoDescriptors> none;
  if (!descriptors) none.emplace();
  const auto peer = [bytes](base::Fd& socket) { EXPECT_TRUE(exchange(socket, bytes, 8) == bytes); };
  return tests::relayed(world, pools, flow, peer, peer);
}

TEST_F(Relay, CopiesWhenThereIsNoPipe) {
  const std::string bytes = tests::pattern(16 * kMiB, 7);
  // First with a few bytes: the sanitizer's first look at each type needs descriptors of its own.
  both_ways(world_, pools_, std::string_view(bytes).substr(0, 1000), true);
  const auto outcome = both_ways(world_, pools_, bytes, false);
  EXPECT_EQ(outcome.finish, Finish::kClosed);
  EXPECT_EQ(outcome.received, bytes.size());
  EXPECT_EQ(outcome.sent, bytes.size());
  EXPECT_EQ(outcome.spliced, 0u);
}

// All four sockets have small buffers; what is in flight beyond them is the relay's.
TEST_F(Relay, ASlowReaderHoldsTheSenderBack) {
  constexpr int kSocketBytes = 64 * 1024;
  Flow flow(kSocketBytes);
  std::size_t taken = 0;
  std::size_t received = 0;
  const auto outcome = relayed(
      flow,
      [&](base::Fd& client) {
        taken = fill(client.get());
        EXPECT_LT(taken, 2 * kMiB);
        tests::end_write(client);
        std::jthread reader([&] { received = receive(flow.target.get()).bytes.size(); });
        reader.join();
        tests::end_write(flow.target);
        receive(client.get());
      },
      [](base::Fd&) {});
  EXPECT_EQ(outcome.finish, Finish::kClosed);
  EXPECT_EQ(received, taken);
}

/// The ring's rounds while a flow waits for its slow target, and nothing moves.
std::size_t rounds_while_blocked(World& world, Pools& pools, bool target_has_ended) {
  Flow flow(64 * 1024);
  uring::Gate gate(world.ring());
  const auto forget = [](uring::Task<Measured> task) -> uring::Task<void> { co_await std::move(task); };
  uring::spawn(gate, forget(flow.relayed(world, pools)));
  if (target_has_ended) tests::end_write(flow.target);
  std::atomic<bool> blocked = false;
  std::jthread client([&] {
    fill(flow.client.get());
    blocked = true;
  });
  while (!blocked) world.run_for(base::Milliseconds(20));
  const std::size_t before = world.rounds();
  world.run_for(base::Milliseconds(300));
  const std::size_t rounds = world.rounds() - before;
  world.stop().request();
  world.run_until_empty(gate);
  return rounds;
}

TEST_F(Relay, SleepsWhileItWaitsForASlowReader) {
  EXPECT_LT(rounds_while_blocked(world_, pools_, false), 20u);
}

// A peer that has ended its own direction may still be slow to read: waiting for it must not spin, although
// the ring's poll reports its FIN for ever.
TEST_F(Relay, SleepsWhileItWaitsForASlowReaderThatHasEnded) {
  EXPECT_LT(rounds_while_blocked(world_, pools_, true), 20u);
}

}  // namespace
}  // namespace tlsplice::relay
