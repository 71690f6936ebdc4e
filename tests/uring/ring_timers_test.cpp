// Promised: timers fire in the order in which they are due, each once, and never when disarmed before; a
// Deadline stops what is under its Stop when its time has passed untouched, and says that it was it. Checked
// with thousands of timers armed and disarmed in random order against a sorted set, and with short deadlines.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include "../tls/loopback.hpp"
#include "tlsplice/uring/ops.hpp"
#include "tlsplice/uring/ring.hpp"

namespace tlsplice::uring {
namespace {

using base::Instant;
using base::Milliseconds;
using tests::World;

/// Writes down when it fires.
class Alarm final : public Timer {
 public:
  Alarm(Ring& ring, std::vector<Alarm*>& fired) : Timer(ring), fired_(fired) {}
  void set(Instant due) {
    due_ = due;
    arm(due);
  }
  void unset() { disarm(); }
  bool is_set() const { return armed(); }
  Instant due() const { return due_; }

 private:
  void fire() override {
    EXPECT_FALSE(armed());
    fired_.push_back(this);
  }
  std::vector<Alarm*>& fired_;
  Instant due_;
};

struct TimerTest : testing::Test {
  World world;
  Ring& ring = world.ring();
  std::vector<Alarm*> fired;
  std::deque<Alarm> alarms;
  const Instant start = base::now();

  Alarm& alarm() { return alarms.emplace_back(ring, fired); }
  void round() { ASSERT_TRUE(ring.run_once().has_value()); }
  bool in_order() const {
    return std::ranges::is_sorted(fired, {}, [](const Alarm* one) { return one->due(); });
  }
};

TEST_F(TimerTest, OneFiresOnce) {
  Alarm& one = alarm();
  one.set(start);
  EXPECT_TRUE(one.is_set());
  round();
  EXPECT_EQ(fired, std::vector{&one});
  EXPECT_FALSE(one.is_set());
  world.run_for(Milliseconds(5));
  EXPECT_EQ(fired.size(), 1u);
}

TEST_F(TimerTest, WhatIsNotDueDoesNotFire) {
  Alarm& soon = alarm();
  Alarm& late = alarm();
  late.set(start + std::chrono::hours(1));
  soon.set(start);
  round();
  EXPECT_EQ(fired, std::vector{&soon});
  EXPECT_TRUE(late.is_set());
  late.unset();
}

TEST_F(TimerTest, SettingAnewMovesIt) {
  Alarm& moved = alarm();
  Alarm& other = alarm();
  moved.set(start + std::chrono::hours(1));
  other.set(start - Milliseconds(10));
  moved.set(start - Milliseconds(20));
  round();
  EXPECT_EQ(fired, (std::vector{&moved, &other}));
}

TEST_F(TimerTest, DyingDisarms) {
  {
    std::optional<Alarm> dying;
    dying.emplace(ring, fired).set(start);
  }
  world.run_for(Milliseconds(1));
  EXPECT_TRUE(fired.empty());
}

TEST_F(TimerTest, UnsettingTwiceIsUnsettingOnce) {
  Alarm& one = alarm();
  one.unset();
  one.set(start);
  one.unset();
  one.unset();
  world.run_for(Milliseconds(1));
  EXPECT_TRUE(fired.empty());
}

TEST_F(TimerTest, ManyFireInOrder) {
  std::mt19937 random(1);
  for (int i = 0; i < 5000; ++i) alarm().set(start - std::chrono::nanoseconds(random() % 1'000'000));
  round();
  EXPECT_EQ(fired.size(), 5000u);
  EXPECT_TRUE(in_order());
}

TEST_F(TimerTest, EqualTimesAllFire) {
  for (int i = 0; i < 1000; ++i) alarm().set(start);
  round();
  EXPECT_EQ(std::set<Alarm*>(fired.begin(), fired.end()).size(), 1000u);
}

TEST_F(TimerTest, RandomStepsLeaveExactlyTheSetOnes) {
  std::mt19937 random(2);
  for (int i = 0; i < 2000; ++i) alarm();
  for (int step = 0; step < 100'000; ++step) {
    Alarm& one = alarms[random() % alarms.size()];
    if (random() % 3 == 0) {
      one.unset();
    } else {
      one.set(start - std::chrono::nanoseconds(random() % 1'000'000'000));
    }
  }
  std::set<Alarm*> expected;
  for (Alarm& one : alarms) {
    if (one.is_set()) expected.insert(&one);
  }
  ASSERT_GT(expected.size(), 500u);
  round();
  EXPECT_EQ(fired.size(), expected.size());
  EXPECT_EQ(std::set<Alarm*>(fired.begin(), fired.end()), expected);
  EXPECT_TRUE(in_order());
}

TEST_F(TimerTest, SomeFireWhileOthersAreNotDue) {
  std::mt19937 random(3);
  std::size_t due = 0;
  for (int i = 0; i < 2000; ++i) {
    const bool now = random() % 2 == 0;
    const auto offset = std::chrono::nanoseconds(random() % 1'000'000);
    alarm().set(now ? start - offset : start + std::chrono::hours(1) + offset);
    due += now ? 1 : 0;
  }
  round();
  EXPECT_EQ(fired.size(), due);
  EXPECT_TRUE(in_order());
  for (Alarm& one : alarms) one.unset();
}

struct DeadlineTest : testing::Test {
  World world;
  Ring& ring = world.ring();
  Stop stop;

  DeadlineTest() { world.run_for(Milliseconds(0)); }  // deadlines begin at the ring's idea of now
};

TEST_F(DeadlineTest, FiresAfterItsLength) {
  const Instant before = ring.now();
  const Deadline deadline(ring, stop, Milliseconds(30));
  EXPECT_FALSE(deadline.expired());
  while (!stop.requested()) ASSERT_TRUE(ring.run_once().has_value());
  EXPECT_TRUE(deadline.expired());
  EXPECT_GE(ring.now() - before, Milliseconds(30));
}

TEST_F(DeadlineTest, StopsWhatWaits) {
  Gate gate(ring);
  std::optional<int> answer;
  spawn(gate, [](Ring& waiting, Stop& within, std::optional<int>& kept) -> Task<void> {
    kept = co_await Sleep(waiting, within, std::chrono::hours(1));
  }(ring, stop, answer));
  const Deadline deadline(ring, stop, Milliseconds(10));
  world.run_until_empty(gate);
  EXPECT_EQ(answer, -ECANCELED);
}

TEST_F(DeadlineTest, EachTouchPostponesIt) {
  Deadline deadline(ring, stop, Milliseconds(200));
  Instant touched;
  for (int i = 0; i < 15; ++i) {
    world.run_for(Milliseconds(20));
    ASSERT_FALSE(stop.requested());
    deadline.touch();
    touched = ring.now();
  }
  while (!stop.requested()) ASSERT_TRUE(ring.run_once().has_value());
  EXPECT_TRUE(deadline.expired());
  EXPECT_GE(ring.now() - touched, Milliseconds(200));
}

TEST_F(DeadlineTest, IsNotTheOneThatExpiredWhenAnotherStopped) {
  const Deadline patient(ring, stop, std::chrono::hours(1));
  const Deadline hasty(ring, stop, Milliseconds(1));
  world.run_for(Milliseconds(20));
  EXPECT_TRUE(stop.requested());
  EXPECT_TRUE(hasty.expired());
  EXPECT_FALSE(patient.expired());
}

TEST_F(DeadlineTest, AnEndedPhaseHasNone) {
  {
    const Deadline deadline(ring, stop, Milliseconds(5));
  }
  world.run_for(Milliseconds(20));
  EXPECT_FALSE(stop.requested());
}

TEST_F(DeadlineTest, OfNoLengthFiresInTheNextRound) {
  const Deadline deadline(ring, stop, Milliseconds(0));
  EXPECT_FALSE(stop.requested());
  ASSERT_TRUE(ring.run_once().has_value());
  EXPECT_TRUE(deadline.expired());
}

}  // namespace
}  // namespace tlsplice::uring
