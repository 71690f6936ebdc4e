// Promised: Failure passes over what a half-closed peer shows for ever, and over data; it yields when the
// peer resets or when both directions have ended, whether before it began or later. Checked over loopback
// TCP with the peer doing each, and with every time at which a Stop can be requested.
#include <gtest/gtest.h>
#include <poll.h>

#include <cerrno>
#include <optional>
#include <vector>

#include "../tls/loopback.hpp"
#include "tlsplice/uring/ops.hpp"

namespace tlsplice::uring {
namespace {

using base::Milliseconds;
using tests::Connection;
using tests::World;
using Answer = std::optional<int>;

Task<void> watch(Ring& ring, Stop& stop, int fd, Answer& answer) {
  answer = co_await Failure(ring, stop, fd);
}

struct FailureTest : testing::Test {
  World world;
  Ring& ring = world.ring();
  Stop stop;
  Gate gate{ring};
  Connection connection = tests::connection();
  Answer answer;

  void begin() { spawn(gate, watch(ring, stop, connection.ours.get(), answer)); }
  void finish() { world.run_until_empty(gate); }
  void expect_still_waiting() {
    world.run_for(Milliseconds(20));
    EXPECT_FALSE(answer.has_value());
    EXPECT_EQ(ring.in_flight(), 1u);
  }
  void expect(int events) {
    finish();
    ASSERT_TRUE(answer.has_value());
    EXPECT_GT(*answer, 0);
    EXPECT_EQ(*answer & events, events);
    EXPECT_EQ(ring.in_flight(), 0u);
  }
};

TEST_F(FailureTest, AQuietConnectionHasNone) {
  begin();
  expect_still_waiting();
  stop.request();
  finish();
  EXPECT_EQ(answer, -ECANCELED);
}

TEST_F(FailureTest, AHalfClosedPeerIsNone) {
  tests::end_write(connection.peer);
  world.run_for(Milliseconds(5));
  begin();
  expect_still_waiting();
  stop.request();
  finish();
  EXPECT_EQ(answer, -ECANCELED);
}

TEST_F(FailureTest, ThePeerHalfClosingMeanwhileIsNone) {
  begin();
  world.run_for(Milliseconds(5));
  tests::end_write(connection.peer);
  expect_still_waiting();
  stop.request();
  finish();
  EXPECT_EQ(answer, -ECANCELED);
}

TEST_F(FailureTest, DataIsNone) {
  begin();
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(tests::send_all(connection.peer.get(), "data"));
    world.run_for(Milliseconds(1));
  }
  tests::end_write(connection.peer);
  ASSERT_TRUE(tests::send_all(connection.ours.get(), "the other direction flows on"));
  expect_still_waiting();
  stop.request();
  finish();
}

TEST_F(FailureTest, AHalfClosedPeerCostsNoRounds) {
  tests::end_write(connection.peer);
  begin();
  world.run_for(Milliseconds(5));
  const std::size_t before = world.rounds();
  world.run_for(Milliseconds(100));
  EXPECT_LE(world.rounds() - before, 5u);
  stop.request();
  finish();
}

TEST_F(FailureTest, AResetIsOne) {
  begin();
  world.run_for(Milliseconds(5));
  tests::reset(connection.peer);
  expect(POLLERR | POLLHUP);
}

TEST_F(FailureTest, AResetAfterAHalfCloseIsOne) {
  tests::end_write(connection.peer);
  begin();
  expect_still_waiting();
  tests::reset(connection.peer);
  expect(POLLHUP);
}

TEST_F(FailureTest, AResetBeforeItBeganIsOne) {
  tests::reset(connection.peer);
  world.run_for(Milliseconds(5));
  begin();
  expect(POLLERR | POLLHUP);
}

TEST_F(FailureTest, AFullHangUpIsOne) {
  begin();
  tests::end_write(connection.peer);
  expect_still_waiting();
  tests::end_write(connection.ours);
  expect(POLLHUP);
}

TEST_F(FailureTest, AFullHangUpBeforeItBeganIsOne) {
  tests::end_write(connection.peer);
  tests::end_write(connection.ours);
  world.run_for(Milliseconds(5));
  begin();
  expect(POLLHUP);
}

TEST_F(FailureTest, OurOwnHalfCloseIsNone) {
  tests::end_write(connection.ours);
  begin();
  expect_still_waiting();
  tests::end_write(connection.peer);
  expect(POLLHUP);
}

TEST_F(FailureTest, YieldsTheErrorOfABadDescriptor) {
  spawn(gate, watch(ring, stop, -1, answer));
  finish();
  EXPECT_EQ(answer, -EBADF);
}

TEST_F(FailureTest, StoppedBeforeItBeginsItDoesNotBegin) {
  stop.request();
  begin();
  EXPECT_EQ(answer, -ECANCELED);
  EXPECT_EQ(ring.in_flight(), 0u);
}

TEST_F(FailureTest, StoppedBeforeSubmission) {
  begin();
  stop.request();
  finish();
  EXPECT_EQ(answer, -ECANCELED);
}

TEST_F(FailureTest, StoppedAfterTheKernelAnswered) {
  for (const bool half_closed : {false, true}) {
    connection = tests::connection();
    if (half_closed) tests::end_write(connection.peer);
    Stop own;
    answer.reset();
    spawn(gate, watch(ring, own, connection.ours.get(), answer));
    world.run_for(Milliseconds(5));
    tests::reset(connection.peer);
    own.request();
    finish();
    ASSERT_TRUE(answer.has_value());
    EXPECT_TRUE(*answer == -ECANCELED || (*answer & POLLHUP) != 0) << *answer;
  }
}

Task<void> watch_then_stop(Ring& ring, Stop& stop, int fd, Answer& answer) {
  answer = co_await Failure(ring, stop, fd);
  stop.request();
}

TEST_F(FailureTest, StoppedBetweenItsAnswerAndItsTurn) {
  Answer other;
  spawn(gate, watch_then_stop(ring, stop, connection.ours.get(), answer));
  spawn(gate, watch_then_stop(ring, stop, connection.ours.get(), other));
  world.run_for(Milliseconds(5));
  tests::reset(connection.peer);
  finish();
  for (const Answer& one : {answer, other}) {
    ASSERT_TRUE(one.has_value());
    EXPECT_TRUE((*one & POLLHUP) != 0 || *one == -ECANCELED) << *one;
  }
}

TEST_F(FailureTest, ManyOnOneSocketAllSeeIt) {
  std::vector<Answer> answers(500);
  for (Answer& one : answers) spawn(gate, watch(ring, stop, connection.ours.get(), one));
  tests::end_write(connection.peer);
  world.run_for(Milliseconds(20));
  for (const Answer& one : answers) ASSERT_FALSE(one.has_value());
  tests::reset(connection.peer);
  finish();
  for (const Answer& one : answers) EXPECT_TRUE(one && (*one & POLLHUP) != 0);
}

}  // namespace
}  // namespace tlsplice::uring
