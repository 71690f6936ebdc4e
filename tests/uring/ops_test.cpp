// Promised: each awaitable yields the kernel's answer; -ECANCELED when its Stop was requested before it
// began, before it was submitted or in flight; and the answer that it has when the request comes too late.
// Checked for Poll, Sleep and Splice on pipes; Connect, Failure and the turns have files of their own.
#include "tlsplice/uring/ops.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <vector>

#include "../base/child.hpp"
#include "../tls/loopback.hpp"

namespace tlsplice::uring {
namespace {

using base::Milliseconds;
using tests::Connection;
using tests::Pipe;
using tests::World;
using Answer = std::optional<int>;

Task<void> poll_for(Ring& ring, Stop& stop, int fd, unsigned events, Answer& answer) {
  answer = co_await Poll(ring, stop, fd, events);
}

Task<void> wait_readable(Ring& ring, Stop& stop, int fd, Answer& answer) {
  answer = co_await readable(ring, stop, fd);
}

Task<void> wait_writable(Ring& ring, Stop& stop, int fd, Answer& answer) {
  answer = co_await writable(ring, stop, fd);
}

Task<void> sleep_for(Ring& ring, Stop& stop, Milliseconds length, Answer& answer) {
  answer = co_await Sleep(ring, stop, length);
}

Task<void> splice(Ring& ring, Stop& stop, int from, int to, std::size_t bytes_max, Answer& answer) {
  answer = co_await Splice(ring, stop, from, to, bytes_max);
}

void put_byte(const Pipe& pipe) {
  TLSPLICE_EXPECT(::write(pipe.write_end.get(), "x", 1) == 1, "a pipe takes a byte");
}

void fill(int fd) {
  const std::string block(64 * 1024, 'x');
  while (::send(fd, block.data(), block.size(), MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
  }
}

/// A world with a gate and a Stop of the test's own.
struct Waiting : testing::Test {
  World world;
  Ring& ring = world.ring();
  Stop stop;
  Gate gate{ring};
  Pipe pipe;
  Answer answer;

  void finish() { world.run_until_empty(gate); }
};

/// From a socket into the pipe.
struct SpliceTest : Waiting {
  void begin() { spawn(gate, splice(ring, stop, connection.ours.get(), pipe.write_end.get(), 1000, answer)); }
  Connection connection = tests::connection();
};

TEST_F(SpliceTest, MovesWhatIsThere) {
  ASSERT_EQ(::send(connection.peer.get(), "hello", 5, 0), 5);
  begin();
  finish();
  EXPECT_EQ(answer, 5);
  char bytes[8];
  EXPECT_EQ(::read(pipe.read_end.get(), bytes, sizeof bytes), 5);
}

TEST_F(SpliceTest, DoesNotWaitForMore) {
  begin();
  finish();
  EXPECT_EQ(answer, -EAGAIN);
}

TEST_F(SpliceTest, TellsTheEndAndErrors) {
  tests::end_write(connection.peer);
  begin();
  finish();
  EXPECT_EQ(answer, 0);
  spawn(gate, splice(ring, stop, connection.ours.get(), connection.ours.get(), 1000, answer));
  finish();
  EXPECT_EQ(answer, -EINVAL);  // neither is a pipe
}

TEST_F(SpliceTest, DoesNotBeginWhenStopped) {
  stop.request();
  begin();
  finish();
  EXPECT_EQ(answer, -ECANCELED);
}

TEST_F(SpliceTest, AnswersInAnyCaseWhenStoppedInFlight) {
  ASSERT_EQ(::send(connection.peer.get(), "hello", 5, 0), 5);
  begin();
  stop.request();
  finish();
  EXPECT_TRUE(answer == 5 || answer == -ECANCELED) << *answer;
  EXPECT_EQ(ring.in_flight(), 0u);
}

using PollTest = Waiting;

TEST_F(PollTest, SeesWhatIsReadableAlready) {
  put_byte(pipe);
  spawn(gate, wait_readable(ring, stop, pipe.read_end.get(), answer));
  finish();
  EXPECT_EQ(answer, POLLIN);
}

TEST_F(PollTest, WaitsUntilSomethingIsReadable) {
  spawn(gate, wait_readable(ring, stop, pipe.read_end.get(), answer));
  world.run_for(Milliseconds(20));
  EXPECT_FALSE(answer.has_value());
  EXPECT_EQ(ring.in_flight(), 1u);
  put_byte(pipe);
  finish();
  EXPECT_EQ(answer, POLLIN);
  EXPECT_EQ(ring.in_flight(), 0u);
}

TEST_F(PollTest, AnEndAndAResetAreReadable) {
  for (const bool by_reset : {false, true}) {
    Connection connection = tests::connection();
    if (by_reset) {
      tests::reset(connection.peer);
    } else {
      connection.peer.reset();
    }
    answer.reset();
    spawn(gate, wait_readable(ring, stop, connection.ours.get(), answer));
    finish();
    ASSERT_TRUE(answer.has_value());
    EXPECT_EQ(*answer & POLLIN, POLLIN);
    EXPECT_EQ((*answer & POLLERR) != 0, by_reset);
  }
}

TEST_F(PollTest, WaitsUntilThePeerMakesRoom) {
  Connection connection = tests::connection();
  spawn(gate, wait_writable(ring, stop, connection.ours.get(), answer));
  finish();
  ASSERT_TRUE(answer.has_value());
  EXPECT_TRUE(*answer & POLLOUT);
  fill(connection.ours.get());
  answer.reset();
  spawn(gate, wait_writable(ring, stop, connection.ours.get(), answer));
  world.run_for(Milliseconds(20));
  EXPECT_FALSE(answer.has_value());
  tests::limit_waiting(connection.peer.get());
  std::string piece(64 * 1024, '\0');
  while (!answer) {
    ASSERT_GT(::recv(connection.peer.get(), piece.data(), piece.size(), MSG_DONTWAIT), 0);
    world.run_for(Milliseconds(1));
  }
  ASSERT_TRUE(answer.has_value());
  EXPECT_TRUE(*answer & POLLOUT);
}

TEST_F(PollTest, AHalfClosedPeerIsNotWritableForThat) {
  Connection connection = tests::connection();
  fill(connection.ours.get());
  tests::end_write(connection.peer);
  spawn(gate, wait_writable(ring, stop, connection.ours.get(), answer));
  world.run_for(Milliseconds(20));
  EXPECT_FALSE(answer.has_value());
  tests::reset(connection.peer);  // now it never will be
  finish();
  ASSERT_TRUE(answer.has_value());
  EXPECT_TRUE(*answer & (POLLHUP | POLLERR));
}

TEST_F(PollTest, WaitingToWriteIsStoppedAtAnyTime) {
  Connection connection = tests::connection();
  fill(connection.ours.get());
  spawn(gate, wait_writable(ring, stop, connection.ours.get(), answer));
  world.run_for(Milliseconds(5));
  stop.request();
  finish();
  EXPECT_EQ(answer, -ECANCELED);
  answer.reset();
  spawn(gate, wait_writable(ring, stop, connection.ours.get(), answer));
  EXPECT_EQ(answer, -ECANCELED);
}

TEST_F(PollTest, YieldsTheErrorOfABadDescriptor) {
  spawn(gate, poll_for(ring, stop, -1, POLLIN, answer));
  finish();
  EXPECT_EQ(answer, -EBADF);
}

TEST_F(PollTest, StoppedBeforeItBeginsItDoesNotBegin) {
  put_byte(pipe);
  stop.request();
  spawn(gate, wait_readable(ring, stop, pipe.read_end.get(), answer));
  EXPECT_EQ(answer, -ECANCELED);  // at once: no round of the ring
  EXPECT_EQ(ring.in_flight(), 0u);
  EXPECT_EQ(gate.inside(), 0u);
}

TEST_F(PollTest, StoppedBeforeSubmission) {
  spawn(gate, wait_readable(ring, stop, pipe.read_end.get(), answer));
  stop.request();
  EXPECT_FALSE(answer.has_value());  // the kernel has the address, or will
  finish();
  EXPECT_EQ(answer, -ECANCELED);
}

TEST_F(PollTest, StoppedInFlight) {
  spawn(gate, wait_readable(ring, stop, pipe.read_end.get(), answer));
  world.run_for(Milliseconds(5));
  stop.request();
  finish();
  EXPECT_EQ(answer, -ECANCELED);
}

TEST_F(PollTest, StoppedAfterTheKernelAnswered) {
  spawn(gate, wait_readable(ring, stop, pipe.read_end.get(), answer));
  world.run_for(Milliseconds(5));
  put_byte(pipe);
  stop.request();  // the cancel loses the race, or wins it: either is an answer
  finish();
  ASSERT_TRUE(answer.has_value());
  EXPECT_TRUE(*answer == POLLIN || *answer == -ECANCELED) << *answer;
}

Task<void> wait_then_stop(Ring& ring, Stop& stop, int fd, Answer& answer) {
  answer = co_await readable(ring, stop, fd);
  stop.request();
}

TEST_F(PollTest, StoppedBetweenItsAnswerAndItsTurn) {
  Answer other;
  spawn(gate, wait_then_stop(ring, stop, pipe.read_end.get(), answer));
  spawn(gate, wait_then_stop(ring, stop, pipe.read_end.get(), other));
  world.run_for(Milliseconds(5));
  put_byte(pipe);  // both answers are collected in one round, and the first to resume stops the other
  finish();
  EXPECT_EQ(answer, POLLIN);
  EXPECT_EQ(other, POLLIN);
}

TEST_F(PollTest, OneStopEndsAllUnderItAndNothingElse) {
  Stop other_stop;
  Answer second, other;
  spawn(gate, wait_readable(ring, stop, pipe.read_end.get(), answer));
  spawn(gate, wait_readable(ring, stop, pipe.read_end.get(), second));
  spawn(gate, wait_readable(ring, other_stop, pipe.read_end.get(), other));
  world.run_for(Milliseconds(5));
  stop.request();
  world.run_for(Milliseconds(5));
  EXPECT_EQ(answer, -ECANCELED);
  EXPECT_EQ(second, -ECANCELED);
  EXPECT_FALSE(other.has_value());
  put_byte(pipe);
  finish();
  EXPECT_EQ(other, POLLIN);
}

using SleepTest = Waiting;

TEST_F(SleepTest, TakesItsTime) {
  const auto before = base::now();
  spawn(gate, sleep_for(ring, stop, Milliseconds(30), answer));
  world.run_for(Milliseconds(0));
  EXPECT_FALSE(answer.has_value());
  finish();
  EXPECT_EQ(answer, 0);
  // The ring's idea of now may be as old as its last round, which was made by `world`.
  EXPECT_GE(base::now() - before, Milliseconds(25));
}

TEST_F(SleepTest, OfNoLengthStillLetsOthersHaveATurn) {
  spawn(gate, sleep_for(ring, stop, Milliseconds(0), answer));
  EXPECT_FALSE(answer.has_value());
  finish();
  EXPECT_EQ(answer, 0);
}

TEST_F(SleepTest, StoppedBeforeItBeginsItDoesNotBegin) {
  stop.request();
  spawn(gate, sleep_for(ring, stop, std::chrono::hours(1), answer));
  EXPECT_EQ(answer, -ECANCELED);
}

TEST_F(SleepTest, StoppedBeforeTheNextRound) {
  spawn(gate, sleep_for(ring, stop, std::chrono::hours(1), answer));
  stop.request();
  finish();
  EXPECT_EQ(answer, -ECANCELED);
}

TEST_F(SleepTest, StoppedWhileItSleeps) {
  spawn(gate, sleep_for(ring, stop, std::chrono::hours(1), answer));
  world.run_for(Milliseconds(5));
  stop.request();
  finish();
  EXPECT_EQ(answer, -ECANCELED);
}

Task<void> sleep_then_stop(Ring& ring, Stop& stop, Milliseconds length, int& awake) {
  co_await Sleep(ring, stop, length);
  ++awake;
  stop.request();
}

TEST_F(SleepTest, StoppedBetweenItsEndAndItsTurnItWakesOnce) {
  int awake = 0;
  for (int i = 0; i < 3; ++i) spawn(gate, sleep_then_stop(ring, stop, Milliseconds(5), awake));
  finish();
  EXPECT_EQ(awake, 3);
}

Task<void> note_after(Ring& ring, Stop& stop, Milliseconds length, std::vector<long>& order) {
  co_await Sleep(ring, stop, length);
  order.push_back(length.count());
}

TEST_F(SleepTest, TheShorterWakesFirst) {
  std::vector<long> order;
  for (const int ms : {30, 10, 20, 0, 40}) spawn(gate, note_after(ring, stop, Milliseconds(ms), order));
  finish();
  EXPECT_EQ(order, (std::vector<long>{0, 10, 20, 30, 40}));
}

}  // namespace
}  // namespace tlsplice::uring
