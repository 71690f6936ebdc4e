// Promised: one direction passes bytes on in order, whole and once, whatever the two streams do; it says what
// it waits for, and holds no buffer and no pipe while nothing is in flight. Checked with streams made of a
// script, and with the switch between copying and splicing on real sockets.
#include "../../src/relay/direction.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <deque>

#include "flow.hpp"

namespace tlsplice::relay {
namespace {

using net::Io;
using net::IoStatus;
using Next = Step::Next;

/// A stream whose reads and writes are told beforehand. A write takes at most what its step says, and waits
/// when the script is over.
class Scripted final : public net::Stream {
 public:
  std::deque<std::string> to_read;
  IoStatus after_reading = IoStatus::kEnd;
  std::deque<Io> writes;
  bool unlimited = true;
  std::string written;

  int fd() const override { return -1; }
  Io read(std::span<std::byte> into) override {
    if (to_read.empty()) return {after_reading, 0};
    const std::string bytes = to_read.front();
    to_read.pop_front();
    std::memcpy(into.data(), bytes.data(), bytes.size());
    return {IoStatus::kDone, bytes.size()};
  }
  Io write(std::span<const std::byte> from) override {
    Io io{IoStatus::kDone, from.size()};
    if (!unlimited) {
      io = writes.empty() ? Io{IoStatus::kWantWrite, 0} : writes.front();
      if (!writes.empty()) writes.pop_front();
    }
    io.bytes = std::min(io.bytes, from.size());
    written.append(reinterpret_cast<const char*>(from.data()), io.bytes);
    return io;
  }
  Io end_write() override { return {IoStatus::kDone, 0}; }
  bool drained() const override { return to_read.empty(); }
  bool splices_out() const override { return false; }
  bool splices_in() const override { return false; }
};

class Copying : public testing::Test {
 protected:
  Step advance() { return direction_.advance(); }

  Pools pools_;
  Scripted from_;
  Scripted to_;
  Direction direction_{from_, to_, pools_};
};

TEST_F(Copying, PassesEverythingOnThenTheEnd) {
  from_.to_read = {"one ", "two ", "three"};
  EXPECT_EQ(advance().next, Next::kWaitFrom);
  const Step step = advance();
  EXPECT_EQ(step.next, Next::kFromEnded);
  EXPECT_EQ(step.status, IoStatus::kEnd);
  EXPECT_EQ(to_.written, "one two three");
  EXPECT_EQ(direction_.bytes(), 13u);
  EXPECT_EQ(direction_.spliced(), 0u);
}

TEST_F(Copying, ResumesAPartialWriteWhereItStopped) {
  from_.to_read = {"abcdefgh"};
  to_.unlimited = false;
  to_.writes = {{IoStatus::kDone, 3}, {IoStatus::kWantWrite, 0}};
  EXPECT_EQ(advance().next, Next::kWaitTo);
  EXPECT_EQ(direction_.bytes(), 3u);
  to_.writes = {{IoStatus::kDone, 1}, {IoStatus::kDone, 100}};
  EXPECT_EQ(advance().next, Next::kWaitFrom);
  EXPECT_EQ(to_.written, "abcdefgh");
}

// A TLS stream may have to read before it can write, and the other way round.
TEST_F(Copying, SaysWhatTheSinkWaitsFor) {
  from_.to_read = {"x"};
  to_.unlimited = false;
  to_.writes = {{IoStatus::kWantRead, 0}};
  const Step step = advance();
  EXPECT_EQ(step.next, Next::kWaitTo);
  EXPECT_EQ(step.status, IoStatus::kWantRead);
}

TEST_F(Copying, SaysWhatTheSourceWaitsFor) {
  from_.after_reading = IoStatus::kWantWrite;
  const Step step = advance();
  EXPECT_EQ(step.next, Next::kWaitFrom);
  EXPECT_EQ(step.status, IoStatus::kWantWrite);
}

TEST_F(Copying, SaysHowTheSourceEnded) {
  for (const auto end : {IoStatus::kEnd, IoStatus::kTruncated, IoStatus::kReset, IoStatus::kBroken}) {
    from_.after_reading = end;
    const Step step = advance();
    EXPECT_EQ(step.next, Next::kFromEnded);
    EXPECT_EQ(step.status, end);
  }
}

TEST_F(Copying, SaysWhyTheSinkFailed) {
  for (const auto end : {IoStatus::kReset, IoStatus::kBroken}) {
    from_.to_read = {"x"};
    to_.unlimited = false;
    to_.writes = {{end, 0}};
    const Step step = advance();
    EXPECT_EQ(step.next, Next::kToFailed);
    EXPECT_EQ(step.status, end);
  }
}

TEST_F(Copying, LetsOthersHaveATurn) {
  for (int i = 0; i < 1000; ++i) from_.to_read.emplace_back(100, 'x');
  int turns = 0;
  while (advance().next == Next::kTurn) ++turns;
  EXPECT_GT(turns, 10);
  EXPECT_EQ(to_.written.size(), 100'000u);
}

TEST_F(Copying, HoldsNoBufferWhileItWaitsForTheSource) {
  auto only = pools_.buffers.take();
  std::byte* const known = only.get();
  pools_.buffers.give_back(std::move(only));
  from_.to_read = {"x"};
  from_.after_reading = IoStatus::kWantRead;
  EXPECT_EQ(advance().next, Next::kWaitFrom);
  EXPECT_EQ(advance().next, Next::kWaitFrom);
  EXPECT_EQ(pools_.buffers.take().get(), known);
}

/// A direction between two real connections.
class Sockets : public testing::Test {
 protected:
  Sockets() { ::signal(SIGPIPE, SIG_IGN); }

  /// Moves until it has to wait for the source.
  void run_dry() {
    for (Step step = direction_.advance(); step.next != Next::kWaitFrom; step = direction_.advance()) {
      ASSERT_TRUE(step.next == Next::kTurn || step.next == Next::kWaitTo);
    }
  }
  /// Sends that many bytes through, and checks them.
  void pass(std::size_t size) {
    const std::string bytes = tests::pattern(size, ++seed_);
    std::string received;
    std::jthread sender([&] { tests::send_all(front_.peer.get(), bytes); });
    std::jthread receiver([&] { received = tests::receive(back_.peer.get(), size).bytes; });
    const std::uint64_t goal = direction_.bytes() + size;
    while (direction_.bytes() < goal) run_dry();
    sender.join();
    receiver.join();
    EXPECT_TRUE(received == bytes);
    run_dry();
  }

  Pools pools_;
  tests::Connection front_ = tests::connection();
  tests::Connection back_ = tests::connection();
  net::SocketStream from_{std::move(front_.ours)};
  net::SocketStream to_{std::move(back_.ours)};
  Direction direction_{from_, to_, pools_};
  std::uint64_t seed_ = 0;
};

TEST_F(Sockets, CopiesSmallMessages) {
  for (int i = 0; i < 100; ++i) pass(1000);
  EXPECT_EQ(direction_.bytes(), 100'000u);
  EXPECT_EQ(direction_.spliced(), 0u);
}

TEST_F(Sockets, SplicesABulkTransfer) {
  constexpr std::size_t kBulk = 16 * 1024 * 1024;
  pass(kBulk);
  EXPECT_GT(direction_.spliced(), kBulk / 2);
  EXPECT_EQ(direction_.bytes(), kBulk);
}

TEST_F(Sockets, GoesBackToCopyingWhenTheStreamIsQuiet) {
  pass(4 * 1024 * 1024);
  for (int i = 0; i < 4; ++i) pass(100);
  const std::uint64_t spliced = direction_.spliced();
  for (int i = 0; i < 10; ++i) pass(100);
  EXPECT_EQ(direction_.spliced(), spliced);
  pass(4 * 1024 * 1024);
  EXPECT_GT(direction_.spliced(), spliced);
}

TEST_F(Sockets, HoldsNoPipeWhileItWaitsForTheSource) {
  const std::size_t before = tests::open_pipes();
  pass(4 * 1024 * 1024);
  EXPECT_EQ(tests::open_pipes(), before + 2);  // at rest in the pool:
  const auto leased = pools_.pipes.take();
  EXPECT_EQ(tests::open_pipes(), before + 2);
}

TEST_F(Sockets, ReadsTheEndAfterSplicing) {
  pass(4 * 1024 * 1024);
  tests::end_write(front_.peer);
  Step step{Next::kTurn};
  for (int i = 0; i < 10 && step.next != Next::kFromEnded; ++i) step = direction_.advance();
  EXPECT_EQ(step.next, Next::kFromEnded);
  EXPECT_EQ(step.status, IoStatus::kEnd);
}

}  // namespace
}  // namespace tlsplice::relay
