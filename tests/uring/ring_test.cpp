// Promised: a ring takes any number of operations at once, answers each of them, and forgets none when the
// queues overflow; failing to make one is an error that says why. Checked with thousands of polls begun,
// answered and cancelled in one round, on rings of the default size and of the smallest.
#include "tlsplice/uring/ring.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>

#include <cerrno>
#include <optional>
#include <random>
#include <vector>

#include "../base/child.hpp"
#include "../tls/loopback.hpp"
#include "tlsplice/uring/ops.hpp"

namespace tlsplice::uring {
namespace {

using tests::Pipe;
using Answers = std::vector<std::optional<int>>;

std::unique_ptr<Ring> make_ring(unsigned entries = 1024) {
  auto ring = Ring::create(entries);
  TLSPLICE_EXPECT(ring.has_value(), "the tests need io_uring");
  return std::move(*ring);
}

Task<void> wait_readable(Ring& ring, Stop& stop, int fd, std::optional<int>& answer) {
  answer = co_await readable(ring, stop, fd);
}

Task<void> wait_failure(Ring& ring, Stop& stop, int fd, std::optional<int>& answer) {
  answer = co_await Failure(ring, stop, fd);
}

void run_until_empty(Ring& ring, const Gate& gate) {
  while (gate.inside() > 0) ASSERT_TRUE(ring.run_once().has_value());
}

/// Rounds that do not wait for anything to happen.
void run_rounds(Ring& ring, int rounds) {
  Gate gate(ring);
  spawn(gate, [](Ring& turning, int turns) -> Task<void> {
    for (int i = 0; i < turns; ++i) co_await Yield(turning);
  }(ring, rounds));
  run_until_empty(ring, gate);
}

std::size_t count(const Answers& answers, int wanted) {
  std::size_t found = 0;
  for (const auto& answer : answers) found += answer == wanted ? 1 : 0;
  return found;
}

/// Both far beyond the submission queue, and the larger beyond the completion queue too.
class RingOverflow : public testing::TestWithParam<unsigned> {
 protected:
  static constexpr std::size_t kOps = 10'000;

  void begin() {
    for (auto& answer : answers_) spawn(gate_, wait_readable(*ring_, stop_, pipe_.read_end.get(), answer));
    EXPECT_EQ(ring_->in_flight(), kOps);
  }
  void write_byte() { ASSERT_EQ(::write(pipe_.write_end.get(), "x", 1), 1); }
  void finish() {
    run_until_empty(*ring_, gate_);
    EXPECT_EQ(ring_->in_flight(), 0u);
    EXPECT_EQ(live_frames(), 0u);
  }

  std::unique_ptr<Ring> ring_ = make_ring(GetParam());
  Stop stop_;
  Gate gate_{*ring_};
  Pipe pipe_;
  Answers answers_ = Answers(kOps);
};
INSTANTIATE_TEST_SUITE_P(Entries, RingOverflow, testing::Values(1U, 64U, 1024U));

TEST_P(RingOverflow, AllBeginInOneRoundAndAreAnswered) {
  begin();
  write_byte();
  finish();
  EXPECT_EQ(count(answers_, POLLIN), kOps);
}

TEST_P(RingOverflow, AllAreCancelledAtOnceInFlight) {
  begin();
  run_rounds(*ring_, 3);
  stop_.request();
  finish();
  EXPECT_EQ(count(answers_, -ECANCELED), kOps);
}

TEST_P(RingOverflow, AllAreCancelledInTheRoundInWhichTheyBegan) {
  begin();
  stop_.request();
  finish();
  EXPECT_EQ(count(answers_, -ECANCELED), kOps);
}

TEST_P(RingOverflow, AllAreCancelledWhileTheyAreAnswered) {
  begin();
  run_rounds(*ring_, 3);
  write_byte();
  stop_.request();
  finish();
  EXPECT_EQ(count(answers_, -ECANCELED) + count(answers_, POLLIN), kOps);
}

TEST_P(RingOverflow, RandomOnesAreCancelled) {
  std::mt19937 random(7);
  std::vector<std::unique_ptr<Stop>> stops;
  for (auto& answer : answers_) {
    stops.push_back(std::make_unique<Stop>(stop_));
    spawn(gate_, wait_readable(*ring_, *stops.back(), pipe_.read_end.get(), answer));
    if (random() % 2 == 0) stops[random() % stops.size()]->request();
  }
  std::size_t stopped = 0;
  for (const auto& stop : stops) stopped += stop->requested() ? 1 : 0;
  write_byte();
  finish();
  EXPECT_EQ(count(answers_, -ECANCELED) + count(answers_, POLLIN), kOps);
  EXPECT_LE(count(answers_, -ECANCELED), stopped);
}

void expect_only_real_failures(unsigned entries) {
  const auto ring = make_ring(entries);
  Stop stop;
  Gate gate(*ring);
  tests::Connection connection = tests::connection();
  Answers answers(1000);
  for (auto& answer : answers) spawn(gate, wait_failure(*ring, stop, connection.ours.get(), answer));
  run_rounds(*ring, 3);
  tests::end_write(connection.peer);  // each of them sees it, and goes on waiting
  run_rounds(*ring, 1000);
  EXPECT_EQ(gate.inside(), answers.size());
  tests::reset(connection.peer);
  run_until_empty(*ring, gate);
  std::size_t failures = 0;
  for (const auto& answer : answers) failures += answer && (*answer & POLLHUP) != 0 ? 1U : 0U;
  EXPECT_EQ(failures, answers.size());
}

TEST(Ring, HalfClosedPeersAreNoFailure) {
  expect_only_real_failures(1024);
}

// The kernel ends a multishot poll that finds the completion queue full (trap 77): it is begun anew.
TEST(Ring, HalfClosedPeersAreNoFailureWhenTheCompletionQueueIsFull) {
  expect_only_real_failures(1);
}

TEST(Ring, BeginsWithNothing) {
  const auto ring = make_ring();
  EXPECT_EQ(ring->in_flight(), 0u);
  EXPECT_LE(ring->now(), base::now());
}

TEST(Ring, ItsTimeGoesOnWithEachRound) {
  const auto ring = make_ring();
  const auto before = ring->now();
  const auto between = base::now();
  EXPECT_EQ(ring->now(), before);
  run_rounds(*ring, 1);
  EXPECT_GE(ring->now(), between);
}

TEST(Ring, TooManyEntriesAreAnError) {
  const auto ring = Ring::create(1U << 20);
  ASSERT_FALSE(ring.has_value());
  EXPECT_EQ(ring.error().errnum, EINVAL);
  EXPECT_TRUE(ring.error().text().starts_with("io_uring_setup"));
}

TEST(Ring, WithoutADescriptorItIsAnError) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  const auto ring = Ring::create();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_FALSE(ring.has_value());
  EXPECT_EQ(ring.error().fault, base::Fault::kExhausted);
}

TEST(Ring, SeveralLiveInOneThread) {
  const auto first = make_ring();
  const auto second = make_ring();
  Stop stop;
  Gate gate(*first), other_gate(*second);
  Pipe pipe;
  Answers answers(2);
  spawn(gate, wait_readable(*first, stop, pipe.read_end.get(), answers[0]));
  spawn(other_gate, wait_readable(*second, stop, pipe.read_end.get(), answers[1]));
  ASSERT_EQ(::write(pipe.write_end.get(), "x", 1), 1);
  run_until_empty(*first, gate);
  run_until_empty(*second, other_gate);
  EXPECT_EQ(count(answers, POLLIN), 2u);
}

TEST(Ring, APostedCoroutineHasItsTurnInTheNextRound) {
  const auto ring = make_ring();
  Gate gate(*ring);
  int turns = 0;
  spawn(gate, [](Ring& turning, int& taken) -> Task<void> {
    co_await Yield(turning);
    ++taken;
    co_await Yield(turning);
    ++taken;
  }(*ring, turns));
  EXPECT_EQ(turns, 0);
  ASSERT_TRUE(ring->run_once().has_value());
  EXPECT_EQ(turns, 1);
  ASSERT_TRUE(ring->run_once().has_value());
  EXPECT_EQ(turns, 2);
}

}  // namespace
}  // namespace tlsplice::uring
