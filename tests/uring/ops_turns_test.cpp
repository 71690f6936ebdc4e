// Promised: whoever yields lets everyone else have a turn, in their order, and the ring its completions; what
// computes for long comes behind those who are quick, has a share of a round, or as much time as those who
// are not, and gives way in its middle where others move bytes.
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "../base/child.hpp"
#include "../tls/loopback.hpp"
#include "tlsplice/uring/ops.hpp"

namespace tlsplice::uring {
namespace {

using base::Milliseconds;
using tests::World;

struct Turns : testing::Test {
  World world;
  Ring& ring = world.ring();
  Gate gate{ring};

  void finish() { world.run_until_empty(gate); }
  std::vector<int> parts_seen_beside(int parts, base::Milliseconds each);
};

Task<void> take_turns(Ring& ring, int number, int turns, std::vector<int>& order) {
  for (int i = 0; i < turns; ++i) {
    order.push_back(number);
    co_await Yield(ring);
  }
}

void compute_for(base::Milliseconds length) {
  for (const base::Instant end = base::now() + length; base::now() < end;) continue;
}

Task<void> take_long_steps(Ring& ring, int steps, base::Milliseconds each, int& taken) {
  for (int i = 0; i < steps; ++i) {
    co_await LongStep(ring);
    compute_for(each);
    ++taken;
  }
}

/// In each of its turns `taken` is what the rounds before have taken.
Task<void> take_turns_beside(Ring& ring, int turns, base::Milliseconds each, const int& taken,
                             std::vector<int>& seen) {
  for (int i = 0; i < turns; ++i) {
    co_await Yield(ring);
    seen.push_back(taken);
    compute_for(each);
  }
}

TEST_F(Turns, ALongStepThatSpendsTheShareIsTheLastOfItsRound) {
  int taken = 0;
  std::vector<int> seen;
  for (int number = 0; number < 3; ++number) spawn(gate, take_long_steps(ring, 2, Milliseconds(50), taken));
  spawn(gate, take_turns_beside(ring, 6, Milliseconds(0), taken, seen));
  finish();
  EXPECT_EQ(seen, (std::vector<int>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(taken, 6);
}

TEST_F(Turns, LongStepsThatAreShortShareARound) {
  int taken = 0;
  std::vector<int> seen;
  for (int number = 0; number < 100; ++number) spawn(gate, take_long_steps(ring, 1, Milliseconds(0), taken));
  spawn(gate, take_turns_beside(ring, 100, Milliseconds(0), taken, seen));
  finish();
  EXPECT_LT(std::ranges::count_if(seen, [](int before) { return before < 100; }), 50);
}

TEST_F(Turns, LongStepsHaveAsMuchTimeAsTheOthers) {
  int taken = 0;
  std::vector<int> seen;
  for (int number = 0; number < 3; ++number) spawn(gate, take_long_steps(ring, 100, Milliseconds(1), taken));
  spawn(gate, take_turns_beside(ring, 6, Milliseconds(20), taken, seen));
  while (seen.size() < 6) ASSERT_TRUE(ring.run_once().has_value());
  EXPECT_GE(seen.back(), 5 * 5) << "of the five rounds before, each of 20 ms for others";
  EXPECT_LE(seen.back(), 5 * 50);
  finish();
  EXPECT_EQ(taken, 300);
}

/// One long step of that many parts, with a place to give way behind each.
Task<void> take_parts(Ring& ring, int parts, base::Milliseconds each, int& taken) {
  co_await LongStep(ring);
  while (taken < parts) {
    compute_for(each);
    ++taken;
    ring.give_way();
  }
}

Task<void> move_bytes(Ring& ring, int turns, const int& taken, std::vector<int>& seen) {
  for (int i = 0; i < turns; ++i) {
    ring.note_traffic();
    seen.push_back(taken);
    co_await Yield(ring);
  }
}

/// How many parts of such a step were done at each of three turns of somebody who is no traffic.
std::vector<int> Turns::parts_seen_beside(int parts, base::Milliseconds each) {
  int taken = 0;
  std::vector<int> seen;
  spawn(gate, take_parts(ring, parts, each, taken));
  spawn(gate, take_turns_beside(ring, 3, Milliseconds(0), taken, seen));
  finish();
  return seen;
}

TEST_F(Turns, BesideTrafficALongStepGivesWay) {
  int taken = 0;
  std::vector<int> seen;
  spawn(gate, take_parts(ring, 10, Milliseconds(1), taken));
  spawn(gate, move_bytes(ring, 10, taken, seen));
  ASSERT_TRUE(ring.run_once().has_value());
  // One at its beginning, one of the round's, and one behind each part but those behind which the machine was
  // elsewhere while the others had theirs.
  EXPECT_GE(seen.size(), 7u) << "all in one round";
  EXPECT_TRUE(std::ranges::is_sorted(seen));
  finish();
}

TEST_F(Turns, WithoutTrafficALongStepDoesNot) {
  EXPECT_EQ(parts_seen_beside(6, Milliseconds(1)), (std::vector<int>{0, 6, 6}));
}

TEST_F(Turns, TrafficOfLongAgoIsForgotten) {
  ring.note_traffic();
  EXPECT_EQ(parts_seen_beside(3, Ring::kTrafficRemembered * 2), (std::vector<int>{0, 1, 3}));
}

TEST_F(Turns, OutsideALongStepNobodyGivesWay) {
  int taken = 0;
  std::vector<int> seen;
  spawn(gate, take_parts(ring, 2, Milliseconds(1), taken));
  finish();
  spawn(gate, move_bytes(ring, 1, taken, seen));
  compute_for(Milliseconds(1));
  ring.give_way();
  EXPECT_EQ(gate.inside(), 1u);
  finish();
}

TEST_F(Turns, AfterALongStepTheLoopWaitsAsBefore) {
  int taken = 0;
  spawn(gate, take_parts(ring, 2, Milliseconds(1), taken));
  finish();
  const std::size_t before = world.rounds();
  world.run_for(Milliseconds(50));
  EXPECT_LE(world.rounds() - before, 3u);
}

TEST_F(Turns, AStepThatGaveWayIsTheLastOfItsRound) {
  int taken = 0;
  int others = 0;
  std::vector<int> seen;
  spawn(gate, take_parts(ring, 1, Milliseconds(1), taken));
  spawn(gate, take_long_steps(ring, 1, Milliseconds(0), others));
  spawn(gate, move_bytes(ring, 5, others, seen));
  finish();
  EXPECT_EQ(seen, (std::vector<int>{0, 0, 0, 0, 1}));
}

TEST_F(Turns, NoLongStepIsTakenInsideAnother) {
  int taken = 0;
  int others = 0;
  std::vector<int> seen;
  spawn(gate, take_parts(ring, 6, Milliseconds(1), taken));
  spawn(gate, take_long_steps(ring, 1, Milliseconds(1), others));
  spawn(gate, move_bytes(ring, 4, others, seen));
  finish();
  EXPECT_EQ(seen, (std::vector<int>{0, 0, 0, 0})) << "its six parts come first";
  EXPECT_EQ(others, 1);
}

TEST_F(Turns, LetEveryoneHaveOne) {
  std::vector<int> order;
  for (int number = 0; number < 3; ++number) spawn(gate, take_turns(ring, number, 3, order));
  finish();
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 0, 1, 2, 0, 1, 2}));
}

Task<void> poll_for_input(Ring& ring, Stop& stop, int fd, int& events) {
  events = co_await readable(ring, stop, fd);
}

/// What a long step that gives way has to serve: a completion, a timer, and a stop of both.
TEST_F(Turns, WhoGivesWayServesTheRing) {
  const tests::Pipe pipe;
  ASSERT_EQ(::write(pipe.write_end.get(), "x", 1), 1);
  const tests::Pipe silent;
  Stop stop;
  const Deadline deadline(ring, stop, Milliseconds(3));
  int events = 0;
  int stopped = 0;
  int taken = 0;
  std::vector<int> seen;
  spawn(gate, poll_for_input(ring, world.stop(), pipe.read_end.get(), events));
  spawn(gate, poll_for_input(ring, stop, silent.read_end.get(), stopped));
  spawn(gate, take_parts(ring, 20, Milliseconds(1), taken));
  spawn(gate, move_bytes(ring, 20, taken, seen));
  ASSERT_TRUE(ring.run_once().has_value());
  EXPECT_EQ(taken, 20);
  EXPECT_EQ(events, POLLIN);
  EXPECT_EQ(stopped, -ECANCELED);
  finish();
}

TEST_F(Turns, DoNotStarveTheRing) {
  const tests::Pipe pipe;
  ASSERT_EQ(::write(pipe.write_end.get(), "x", 1), 1);
  Stop stop;
  int events = 0;
  std::vector<int> order;
  spawn(gate, take_turns(ring, 0, 1000, order));
  spawn(gate, poll_for_input(ring, stop, pipe.read_end.get(), events));
  for (int round = 0; round < 10; ++round) ASSERT_TRUE(ring.run_once().has_value());
  EXPECT_EQ(events, POLLIN);
  EXPECT_LT(order.size(), 1000u);
  finish();
}

}  // namespace
}  // namespace tlsplice::uring
