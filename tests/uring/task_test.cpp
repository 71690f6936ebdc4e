// Promised: a task is lazy, hands its value to its awaiter, and leaves no frame behind; a Gate counts what
// runs inside and tells when the last one has left. Checked by values of every kind, by the count of live
// frames, and by a million awaits that finish at once. What must abort is in tests/crash.
#include "tlsplice/uring/task.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "../tls/loopback.hpp"
#include "tlsplice/base/result.hpp"
#include "tlsplice/uring/ops.hpp"

namespace tlsplice::uring {
namespace {

using base::Milliseconds;
using base::Result;
using tests::World;

Task<int> number(int value) {
  co_return value;
}
Task<std::string> text(std::string value) {
  co_return value + "!";
}
Task<std::unique_ptr<int>> owned(int value) {
  co_return std::make_unique<int>(value);
}
Task<Result<std::unique_ptr<int>>> halved(int value) {
  if (value % 2 != 0) co_return base::fail(base::Error::invalid("odd"));
  co_return std::make_unique<int>(value / 2);
}
Task<void> mark(bool& marked) {
  marked = true;
  co_return;
}

TEST(Task, HandsOverItsValue) {
  World world;
  EXPECT_EQ(world.run(number(7)), 7);
  EXPECT_EQ(world.run(text("hello")), "hello!");
  EXPECT_EQ(*world.run(owned(3)), 3);
}

TEST(Task, ErrorsAreValues) {
  World world;
  EXPECT_EQ(**world.run(halved(4)), 2);
  EXPECT_EQ(world.run(halved(3)).error().text(), "odd");
}

TEST(Task, IsLazy) {
  bool marked = false;
  {
    const auto task = mark(marked);
    EXPECT_EQ(live_frames(), 1u);
  }
  EXPECT_FALSE(marked);
  EXPECT_EQ(live_frames(), 0u);  // dropping one that never started is no mistake
}

TEST(Task, AnUnstartedOneFreesItsParameters) {
  const auto shared = std::make_shared<int>(1);
  const auto take = [](std::shared_ptr<int> taken) -> Task<int> { co_return *taken; };
  {
    auto task = take(shared);
    EXPECT_EQ(shared.use_count(), 2);
    const auto moved = std::move(task);
    EXPECT_EQ(shared.use_count(), 2);
  }
  EXPECT_EQ(shared.use_count(), 1);
}

Task<int> sum_to(int n) {
  if (n == 0) co_return 0;
  co_return n + co_await sum_to(n - 1);
}

TEST(Task, AwaitsDeeply) {
  World world;
  EXPECT_EQ(world.run(sum_to(1000)), 500'500);
}

Task<long> add_up(int awaits) {
  long sum = 0;
  for (int i = 0; i < awaits; ++i) sum += co_await number(i);
  co_return sum;
}

TEST(Task, AMillionAwaitsThatFinishAtOnceNeedNoStack) {
  World world;
  EXPECT_EQ(world.run(add_up(1'000'000)), 499'999'500'000);
}

Task<int> wait_ready(Ring& ring, Stop& stop, int rounds) {
  int refused = 0;
  for (int i = 0; i < rounds; ++i) refused += co_await readable(ring, stop, -1) == -ECANCELED ? 1 : 0;
  co_return refused;
}

TEST(Task, AMillionAwaitsUnderARequestedStopNeedNoStack) {
  World world;
  Stop stop;
  stop.request();
  EXPECT_EQ(world.run(wait_ready(world.ring(), stop, 1'000'000)), 1'000'000);
}

Task<int> turns(Ring& ring, int count) {
  for (int i = 0; i < count; ++i) co_await Yield(ring);
  co_return count;
}

TEST(Task, ManyTurnsThroughTheRingNeedNoStack) {
  World world;
  EXPECT_EQ(world.run(turns(world.ring(), 100'000)), 100'000);
}

Task<int> nested_turns(Ring& ring, int depth) {
  co_await Yield(ring);
  if (depth == 0) co_return 0;
  const int below = co_await nested_turns(ring, depth - 1);
  co_await Yield(ring);
  co_return below + 1;
}

TEST(Task, SuspendsAtEveryDepth) {
  World world;
  EXPECT_EQ(world.run(nested_turns(world.ring(), 200)), 200);
}

struct Traced {
  explicit Traced(int& alive) : alive_(&alive) { ++*alive_; }
  Traced(const Traced& other) : alive_(other.alive_) { ++*alive_; }
  Traced& operator=(const Traced&) = delete;
  ~Traced() { --*alive_; }
  int* alive_;
};

Task<Traced> pass_on(Ring& ring, Traced traced) {
  const Traced copy(traced);
  co_await Yield(ring);
  co_return copy;
}

Task<int> count_alive(Ring& ring, int& alive) {
  {
    const Traced result = co_await pass_on(ring, Traced(alive));
    if (alive != 1) co_return -1;
  }
  co_return alive;
}

TEST(Task, ParametersAndLocalsDieWithTheTask) {
  World world;
  int alive = 0;
  EXPECT_EQ(world.run(count_alive(world.ring(), alive)), 0);
  EXPECT_EQ(alive, 0);
}

Task<std::size_t> with_large_frame(Ring& ring, char fill) {
  std::array<char, 8192> large{};
  std::memset(large.data(), fill, large.size());
  co_await Yield(ring);
  co_return std::set<char>(large.begin(), large.end()).size();
}

TEST(Task, FramesMayBeLarge) {
  World world;
  for (const char fill : {'a', 'b', 'c'}) EXPECT_EQ(world.run(with_large_frame(world.ring(), fill)), 1u);
}

TEST(Frames, AreCounted) {
  std::vector<std::pair<void*, std::size_t>> frames;
  for (const std::size_t size : {1UZ, 63UZ, 64UZ, 65UZ, 2047UZ, 2048UZ, 2049UZ, 100'000UZ}) {
    frames.emplace_back(allocate_frame(size), size);
    std::memset(frames.back().first, 0x5a, size);  // all of it is there
    EXPECT_EQ(live_frames(), frames.size());
  }
  for (const auto& [frame, size] : frames) free_frame(frame, size);
  EXPECT_EQ(live_frames(), 0u);
}

TEST(Frames, OfOneKindNeverOverlap) {
  std::set<void*> live;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 100; ++i) EXPECT_TRUE(live.insert(allocate_frame(200)).second);
    for (void* frame : live) free_frame(frame, 200);
    live.clear();
  }
}

Task<void> sleep_in(Ring& ring, Stop& stop, Milliseconds length) {
  co_await Sleep(ring, stop, length);
}

Task<void> await_empty(Gate& awaited, bool& empty) {
  co_await awaited.empty();
  empty = true;
}

struct GateTest : testing::Test {
  World world;
  Ring& ring = world.ring();
  Stop stop;
  Gate gate{ring};
  Gate outer{ring};
  bool empty = false;
};

TEST_F(GateTest, AnEmptyOneIsEmptyAtOnce) {
  spawn(outer, await_empty(gate, empty));
  EXPECT_TRUE(empty);
  EXPECT_EQ(outer.inside(), 0u);
}

TEST_F(GateTest, CountsWhatRunsInside) {
  for (int i = 1; i <= 3; ++i) {
    spawn(gate, sleep_in(ring, stop, std::chrono::hours(1)));
    EXPECT_EQ(gate.inside(), static_cast<std::size_t>(i));
  }
  stop.request();
  world.run_until_empty(gate);
  EXPECT_EQ(gate.inside(), 0u);
}

TEST_F(GateTest, TellsWhenTheLastOneHasLeft) {
  for (const int ms : {5, 10, 30}) spawn(gate, sleep_in(ring, stop, Milliseconds(ms)));
  spawn(outer, await_empty(gate, empty));
  while (!empty) {
    ASSERT_EQ(outer.inside(), 1u);
    world.run_for(Milliseconds(1));
    EXPECT_TRUE(!empty || gate.inside() == 0);
  }
  EXPECT_EQ(outer.inside(), 0u);
}

TEST_F(GateTest, CanBeAwaitedAgain) {
  for (int i = 0; i < 3; ++i) {
    empty = false;
    spawn(gate, sleep_in(ring, stop, Milliseconds(1)));
    spawn(outer, await_empty(gate, empty));
    world.run_until_empty(outer);
    EXPECT_TRUE(empty);
  }
}

TEST_F(GateTest, WhatFinishesAtOnceNeverStays) {
  bool marked = false;
  spawn(gate, mark(marked));
  EXPECT_TRUE(marked);
  EXPECT_EQ(gate.inside(), 0u);
  EXPECT_EQ(live_frames(), 0u);
}

TEST_F(GateTest, AMillionSpawnedTasksLeaveNoFrame) {
  bool marked = false;
  for (int i = 0; i < 1'000'000; ++i) spawn(gate, mark(marked));
  EXPECT_EQ(gate.inside(), 0u);
  EXPECT_EQ(live_frames(), 0u);
}

}  // namespace
}  // namespace tlsplice::uring
