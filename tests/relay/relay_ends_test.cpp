// Promised: ends are truthful. A half-close passes through while the other direction flows on; a reset,
// wherever it happens, ends the flow as that side's reset, after what was sent before it; a truncation resets
// or is passed on as the limits say; idleness and Stop end the flow. Checked over loopback TCP from both
// peers' ends, and with a stream that ends as TLS can.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>

#include "flow.hpp"

namespace tlsplice::relay {
namespace {

using base::Milliseconds;
using net::IoStatus;
using tests::Flow;
using tests::Measured;
using tests::receive;
using tests::Saw;
using tests::World;

constexpr std::size_t kBulk = 4 * 1024 * 1024;

class RelayEnds : public testing::Test {
 protected:
  template <typename Client, typename Target>
  Measured relayed(Flow& flow, Client client, Target target, Limits limits = tests::kPatient) {
    return tests::relayed(world_, pools_, flow, client, target, limits);
  }

  World world_;
  Pools pools_;
};

/// What both ends of a connection do, so that each test runs with the roles swapped, too.
enum class First { kClient, kTarget };

class EitherSide : public RelayEnds, public testing::WithParamInterface<First> {
 protected:
  /// `one` acts on the parameter's side, `other` on the opposite one.
  template <typename One, typename Other>
  Measured run(One one, Other other, Limits limits = tests::kPatient) {
    Flow flow;
    if (GetParam() == First::kClient) return relayed(flow, one, other, limits);
    return relayed(flow, other, one, limits);
  }
  Side one() const { return GetParam() == First::kClient ? Side::kClient : Side::kTarget; }
  std::uint64_t from_one(const Measured& outcome) const {
    return GetParam() == First::kClient ? outcome.received : outcome.sent;
  }
  std::uint64_t from_other(const Measured& outcome) const {
    return GetParam() == First::kClient ? outcome.sent : outcome.received;
  }
};

INSTANTIATE_TEST_SUITE_P(Relay, EitherSide, testing::Values(First::kClient, First::kTarget),
                         [](const auto& each) { return each.param == First::kClient ? "Client" : "Target"; });

TEST_P(EitherSide, AHalfCloseLetsTheOtherDirectionFlowOn) {
  const std::string bytes = tests::pattern(kBulk, 1);
  const auto outcome = run(
      [&](base::Fd& one) {
        tests::send_all(one.get(), "that is all");
        tests::end_write(one);
        const auto answer = receive(one.get());
        EXPECT_TRUE(answer.bytes == bytes);
        EXPECT_EQ(answer.end, Saw::kFin);
      },
      [&](base::Fd& other) {
        const auto request = receive(other.get());
        EXPECT_EQ(request.bytes, "that is all");
        EXPECT_EQ(request.end, Saw::kFin);
        std::this_thread::sleep_for(Milliseconds(50));
        tests::send_all(other.get(), bytes);
        tests::end_write(other);
      });
  EXPECT_EQ(outcome.finish, Finish::kClosed);
  EXPECT_EQ(from_one(outcome), 11u);
  EXPECT_EQ(from_other(outcome), bytes.size());
}

TEST_P(EitherSide, AHalfCloseAtOnceIsPassedOnAtOnce) {
  const auto outcome = run(
      [&](base::Fd& one) {
        tests::end_write(one);
        receive(one.get());
      },
      [&](base::Fd& other) {
        EXPECT_EQ(receive(other.get()).end, Saw::kFin);
        tests::end_write(other);
      });
  EXPECT_EQ(outcome.finish, Finish::kClosed);
}

TEST_P(EitherSide, AResetEndsAQuietFlow) {
  const auto outcome = run(
      [&](base::Fd& one) {
        std::this_thread::sleep_for(Milliseconds(20));
        tests::reset(one);
      },
      [&](base::Fd&) {});
  EXPECT_EQ(outcome.finish, Finish::kReset);
  EXPECT_EQ(outcome.by, one());
}

TEST_P(EitherSide, AResetEndsAFlowAmidBulk) {
  const std::string bytes = tests::pattern(kBulk, 2);
  const auto outcome = run(
      [&](base::Fd& one) {
        receive(one.get(), kBulk / 2);
        tests::reset(one);
      },
      [&](base::Fd& other) {
        tests::send_all(other.get(), bytes);
        receive(other.get(), 1);
      });
  EXPECT_EQ(outcome.finish, Finish::kReset);
  EXPECT_EQ(outcome.by, one());
  EXPECT_EQ(from_one(outcome), 0u);
}

// Its FIN has been passed on, so nobody reads from it: only the watch can notice.
TEST_P(EitherSide, AResetAfterAHalfCloseEndsTheFlow) {
  const auto outcome = run(
      [&](base::Fd& one) {
        tests::end_write(one);
        std::this_thread::sleep_for(Milliseconds(50));
        tests::reset(one);
      },
      [&](base::Fd& other) { EXPECT_EQ(receive(other.get()).end, Saw::kFin); });
  EXPECT_EQ(outcome.finish, Finish::kReset);
  EXPECT_EQ(outcome.by, one());
}

TEST_P(EitherSide, AResetOfTheOneThatGotTheHalfCloseEndsTheFlow) {
  const auto outcome = run([&](base::Fd& one) { tests::end_write(one); },
                           [&](base::Fd& other) {
                             EXPECT_EQ(receive(other.get()).end, Saw::kFin);
                             tests::reset(other);
                           });
  EXPECT_EQ(outcome.finish, Finish::kReset);
  EXPECT_NE(outcome.by, one());
}

// One side says its last words and resets, while the other is still sending: the words arrive before the
// reset does.
TEST_P(EitherSide, WhatWasSentBeforeAResetArrives) {
  std::string heard;
  const auto outcome = run(
      [&](base::Fd& one) {
        EXPECT_EQ(receive(one.get(), 4).bytes, "more");
        tests::send_all(one.get(), "last words");
        std::this_thread::sleep_for(Milliseconds(20));
        tests::reset(one);
      },
      [&](base::Fd& other) {
        tests::send_all(other.get(), "more");
        heard = receive(other.get(), 10).bytes;
        for (int i = 0; i < 50 && tests::send_all(other.get(), "more"); ++i) {
          std::this_thread::sleep_for(Milliseconds(2));
        }
      });
  EXPECT_EQ(heard, "last words");
  EXPECT_EQ(outcome.finish, Finish::kReset);
  EXPECT_EQ(outcome.by, one());
}

/// The same with both already queued when the relay starts, so that the failed write comes first.
TEST_F(RelayEnds, WhatTheSinkSentBeforeItsResetIsPassedOn) {
  Flow flow;
  tests::send_all(flow.client.get(), "never taken");
  tests::send_all(flow.target.get(), "last words");
  std::this_thread::sleep_for(Milliseconds(20));
  tests::reset(flow.target);
  std::this_thread::sleep_for(Milliseconds(20));
  const auto outcome = world_.run(flow.relayed(world_, pools_));
  EXPECT_EQ(outcome.finish, Finish::kReset);
  EXPECT_EQ(outcome.by, Side::kTarget);
  EXPECT_EQ(outcome.received, 0u);
  EXPECT_EQ(outcome.sent, 10u);
  EXPECT_EQ(receive(flow.client.get(), 10).bytes, "last words");
}

TEST_P(EitherSide, IdlenessEndsTheFlow) {
  const auto begun = base::now();
  const auto outcome = run([&](base::Fd& one) { tests::send_all(one.get(), "x"); }, [](base::Fd&) {},
                           {.idle = Milliseconds(100), .truncation_resets = true});
  EXPECT_EQ(outcome.finish, Finish::kIdle);
  EXPECT_GE(base::now() - begun, Milliseconds(99));
  EXPECT_EQ(from_one(outcome), 1u);
}

TEST_P(EitherSide, IdlenessEndsAHalfClosedFlow) {
  const auto outcome = run([&](base::Fd& one) { tests::end_write(one); },
                           [](base::Fd& other) { EXPECT_EQ(receive(other.get()).end, Saw::kFin); },
                           {.idle = Milliseconds(100), .truncation_resets = true});
  EXPECT_EQ(outcome.finish, Finish::kIdle);
}

// Bytes in either direction count.
TEST_P(EitherSide, AFlowThatMovesIsNotIdle) {
  const auto outcome = run(
      [&](base::Fd& one) {
        for (int i = 0; i < 20; ++i) {
          tests::send_all(one.get(), "x");
          std::this_thread::sleep_for(Milliseconds(20));
        }
        tests::end_write(one);
      },
      [](base::Fd& other) {
        EXPECT_EQ(receive(other.get()).bytes.size(), 20u);
        tests::end_write(other);
      },
      {.idle = Milliseconds(200), .truncation_resets = true});
  EXPECT_EQ(outcome.finish, Finish::kClosed);
}

TEST_P(EitherSide, StopEndsTheFlow) {
  const auto outcome = [&] {
    uring::Gate gate(world_.ring());
    const auto stop_soon = [](World& world) -> uring::Task<void> {
      uring::Stop own;
      co_await uring::Sleep(world.ring(), own, Milliseconds(50));
      world.stop().request();
    };
    uring::spawn(gate, stop_soon(world_));
    const auto ended = run([&](base::Fd& one) { tests::end_write(one); }, [](base::Fd&) {});
    world_.run_until_empty(gate);
    return ended;
  }();
  EXPECT_EQ(outcome.finish, Finish::kStopped);
}

TEST_F(RelayEnds, AStopBeforeTheBeginningEndsTheFlow) {
  world_.stop().request();
  Flow flow;
  EXPECT_EQ(world_.run(flow.relayed(world_, pools_)).finish, Finish::kStopped);
}

TEST_F(RelayEnds, StopEndsABulkTransfer) {
  Flow flow;
  uring::Gate gate(world_.ring());
  const auto stop_soon = [](World& world) -> uring::Task<void> {
    uring::Stop own;
    co_await uring::Sleep(world.ring(), own, Milliseconds(50));
    world.stop().request();
  };
  uring::spawn(gate, stop_soon(world_));
  std::atomic<bool> over = false;
  std::jthread sender([&] {
    const std::string piece(64 * 1024, 'x');
    while (!over && tests::send_all(flow.client.get(), piece)) continue;
  });
  std::jthread receiver([&] {
    while (!over) receive(flow.target.get(), 1024);
  });
  const auto outcome = world_.run(flow.relayed(world_, pools_));
  over = true;
  ::shutdown(flow.client.get(), SHUT_RDWR);
  ::shutdown(flow.target.get(), SHUT_RDWR);
  EXPECT_EQ(outcome.finish, Finish::kStopped);
  EXPECT_GT(outcome.received, 0u);
}

/// A TCP stream whose FIN means what the test wants, as TLS streams can.
class Ending final : public net::Stream {
 public:
  Ending(base::Fd socket, IoStatus end) : socket_(std::move(socket)), end_(end) {}
  int fd() const override { return socket_.fd(); }
  net::Io read(std::span<std::byte> into) override {
    net::Io io = socket_.read(into);
    if (io.status == IoStatus::kEnd) io.status = end_;
    return io;
  }
  net::Io write(std::span<const std::byte> from) override { return socket_.write(from); }
  net::Io end_write() override { return socket_.end_write(); }
  bool drained() const override { return socket_.drained(); }
  net::Splicing splices_out() const override { return net::Splicing::kNever; }
  net::Splicing splices_in() const override { return net::Splicing::kNever; }

 private:
  net::SocketStream socket_;
  IoStatus end_;
};

/// A flow in which the client ends its direction after a few bytes, and that end means `end`.
class SpecialEnd : public RelayEnds {
 protected:
  template <typename Target>
  Measured run(IoStatus end, bool truncation_resets, Target target) {
    tests::Connection front = tests::connection();
    tests::Connection back = tests::connection();
    Ending client(std::move(front.ours), end);
    net::SocketStream to_target(std::move(back.ours));
    tests::send_all(front.peer.get(), "cut sho");
    tests::end_write(front.peer);
    std::jthread peer([&] { target(back.peer); });
    const Limits limits{.idle = tests::kPatience, .truncation_resets = truncation_resets};
    const auto outcome = world_.run(tests::relayed(world_, pools_, client, to_target, limits));
    client_ = std::move(front.peer);
    return outcome;
  }

  base::Fd client_;
};

TEST_F(SpecialEnd, ATruncationEndsTheFlowWhereItResets) {
  const auto outcome = run(IoStatus::kTruncated, true,
                           [](base::Fd& target) { EXPECT_EQ(receive(target.get(), 7).bytes, "cut sho"); });
  EXPECT_EQ(outcome.finish, Finish::kTruncated);
  EXPECT_EQ(outcome.by, Side::kClient);
  EXPECT_TRUE(outcome.truncated);
  EXPECT_EQ(outcome.received, 7u);
}

TEST_F(SpecialEnd, ATruncationIsPassedOnAsAFinWhereItDoesNot) {
  const auto outcome = run(IoStatus::kTruncated, false, [](base::Fd& target) {
    const auto request = receive(target.get());
    EXPECT_EQ(request.bytes, "cut sho");
    EXPECT_EQ(request.end, Saw::kFin);
    tests::send_all(target.get(), "an answer all the same");
    tests::end_write(target);
  });
  EXPECT_EQ(outcome.finish, Finish::kClosed);
  EXPECT_TRUE(outcome.truncated);
  EXPECT_EQ(outcome.sent, 22u);
  EXPECT_EQ(receive(client_.get(), 22).bytes, "an answer all the same");
}

TEST_F(SpecialEnd, ABrokenStreamEndsTheFlow) {
  const auto outcome = run(IoStatus::kBroken, true, [](base::Fd&) {});
  EXPECT_EQ(outcome.finish, Finish::kBroken);
  EXPECT_EQ(outcome.by, Side::kClient);
  EXPECT_FALSE(outcome.truncated);
}

}  // namespace
}  // namespace tlsplice::relay
