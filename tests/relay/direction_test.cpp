// Promised: one direction passes bytes on in order, whole and once, whatever the two streams do; it says what
// it waits for, and holds no buffer and no pipe while nothing is in flight. Checked with streams made of a
// script, and with the switch between copying and splicing on real sockets.
#include "../../src/relay/direction.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

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
  net::Splicing splices_out() const override { return net::Splicing::kNever; }
  net::Splicing splices_in() const override { return net::Splicing::kNever; }
};

class Copying : public testing::Test {
 protected:
  Step advance() { return direction_.advance(); }

  Pools pools_;
  Scripted from_;
  Scripted to_;
  Limits limits_;
  Direction direction_{from_, to_, pools_, limits_};
};

TEST_F(Copying, PassesEverythingOnThenTheEnd) {
  from_.to_read = {"one ", "two ", "three"};
  EXPECT_EQ(advance().next, Next::kWaitFrom);
  const Step step = advance();
  EXPECT_EQ(step.next, Next::kFromEnded);
  EXPECT_EQ(step.status, IoStatus::kEnd);
  EXPECT_EQ(to_.written, "one two three");
  EXPECT_EQ(direction_.bytes(), 13u);
  EXPECT_EQ(direction_.spliced_bytes(), 0u);
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

/// A stream that splice(2) works on, as it says itself.
class Splicable final : public net::Stream {
 public:
  Splicable(net::Splicing out, net::Splicing in, int fd = kNoSocket) : out_(out), in_(in), fd_(fd) {}
  static constexpr int kNoSocket = 7;  // where the test itself says how splices went
  std::deque<Io> may_splice;
  int reads = 0;

  int fd() const override { return fd_; }
  Io read(std::span<std::byte> /*into*/) override {
    ++reads;
    return {IoStatus::kWantRead, 0};
  }
  Io write(std::span<const std::byte> from) override { return {IoStatus::kDone, from.size()}; }
  Io end_write() override { return {}; }
  bool drained() const override { return true; }
  net::Splicing splices_out() const override { return out_; }
  net::Splicing splices_in() const override { return in_; }
  Io spliced_out(ssize_t result) override {
    return result == -EINVAL ? Io{IoStatus::kDone, 0} : Stream::spliced_out(result);
  }
  Io may_splice_in() override {
    if (may_splice.empty()) return {};
    const Io io = may_splice.front();
    may_splice.pop_front();
    return io;
  }

 private:
  net::Splicing out_;
  net::Splicing in_;
  int fd_;
};

/// Splices of which the test says how they went, as the ring does in that mode.
class RingSplices : public testing::Test {
 protected:
  using enum net::Splicing;
  Pools pools_;
  Splicable from_{kPossible, kPossible};
  Splicable to_{kPossible, kPossible};
  Limits limits_{.mode = Mode::kUringSplice};
  Direction direction_{from_, to_, pools_, limits_};
};

TEST_F(RingSplices, FillThePipeThenEmptyIt) {
  EXPECT_EQ(direction_.advance().next, Next::kSplice);
  EXPECT_EQ(direction_.splice_due().from, Splicable::kNoSocket);
  EXPECT_EQ(direction_.spliced(1000).next, Next::kTurn);
  EXPECT_EQ(direction_.advance().next, Next::kSplice);
  EXPECT_EQ(direction_.splice_due().to, Splicable::kNoSocket);
  EXPECT_EQ(direction_.splice_due().bytes, 1000u);
  direction_.spliced(400);
  EXPECT_EQ(direction_.bytes(), 400u);
  EXPECT_EQ(direction_.advance().next, Next::kSplice);
  EXPECT_EQ(direction_.splice_due().bytes, 600u);
  const Step full = direction_.spliced(-EAGAIN);
  EXPECT_EQ(full.next, Next::kWaitTo);
  EXPECT_EQ(full.status, IoStatus::kWantWrite);
  EXPECT_EQ(direction_.advance().next, Next::kSplice);
  direction_.spliced(600);
  EXPECT_EQ(direction_.spliced_bytes(), 1000u);
}

TEST_F(RingSplices, WaitWhenTheSourceIsEmptyAndHoldNoPipe) {
  const std::size_t before = tests::open_pipes();
  direction_.advance();
  EXPECT_EQ(direction_.spliced(-EAGAIN).next, Next::kWaitFrom);
  const auto pooled = pools_.pipes.take();
  EXPECT_EQ(tests::open_pipes(), before + 2);
}

TEST_F(RingSplices, LeaveWhatIsNotDataToTheRead) {
  direction_.advance();
  EXPECT_EQ(direction_.spliced(-EINVAL).next, Next::kTurn);
  EXPECT_EQ(direction_.advance().next, Next::kWaitFrom);
  EXPECT_EQ(from_.reads, 1);
  EXPECT_EQ(direction_.advance().next, Next::kSplice);  // and go on
}

TEST_F(RingSplices, SayHowTheSourceEndedAndWhyTheSinkFailed) {
  direction_.advance();
  const Step end = direction_.spliced(0);
  EXPECT_EQ(end.next, Next::kFromEnded);
  EXPECT_EQ(end.status, IoStatus::kEnd);
  direction_.advance();
  EXPECT_EQ(direction_.spliced(-ECONNRESET).status, IoStatus::kReset);
  direction_.advance();
  direction_.spliced(10);
  direction_.advance();
  EXPECT_EQ(direction_.spliced(-EPIPE).next, Next::kToFailed);
}

TEST_F(RingSplices, AskTheSinkFirst) {
  direction_.advance();
  direction_.spliced(10);
  to_.may_splice = {{IoStatus::kWantWrite, 0}, {IoStatus::kBroken, 0}};
  EXPECT_EQ(direction_.advance().next, Next::kWaitTo);
  const Step broken = direction_.advance();
  EXPECT_EQ(broken.next, Next::kToFailed);
  EXPECT_EQ(broken.status, IoStatus::kBroken);
}

TEST(Modes, SpliceOnlyWhatCanBeSpliced) {
  using enum net::Splicing;
  Pools pools;
  for (const auto& [out, in] : {std::pair(kNever, kWorthIt), std::pair(kWorthIt, kNever)}) {
    Splicable from(out, out), to(in, in);
    for (const Mode mode : {Mode::kSplice, Mode::kUringSplice, Mode::kCopy, Mode::kAuto}) {
      const Limits limits{.mode = mode};
      Direction direction(from, to, pools, limits);
      EXPECT_EQ(direction.advance().next, Next::kWaitFrom);
    }
    EXPECT_EQ(from.reads, 4);
  }
}

/// A source that never runs dry, a sink that never fills: neither ends the turn.
TEST(Modes, LetOthersHaveATurnWhileTheySplice) {
  using enum net::Splicing;
  constexpr off_t kEndless = off_t{1} << 40;
  const base::Fd source(::memfd_create("endless", MFD_CLOEXEC));
  const base::Fd sink(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  ASSERT_EQ(::ftruncate(source.get(), kEndless), 0);
  Pools pools;
  Splicable from(kWorthIt, kWorthIt, source.get()), to(kWorthIt, kWorthIt, sink.get());
  const Limits limits{.mode = Mode::kSplice};
  Direction direction(from, to, pools, limits);
  for (std::uint64_t before = 0, turn = 0; turn < 3; ++turn, before = direction.bytes()) {
    EXPECT_EQ(direction.advance().next, Next::kTurn);
    EXPECT_GT(direction.bytes(), before);
    EXPECT_LE(direction.bytes(), before + 8 * 1024 * 1024);
  }
}

/// A direction between two real connections.
class Sockets : public testing::Test {
 protected:
  explicit Sockets(const Limits& limits = {}) : limits_(limits) { ::signal(SIGPIPE, SIG_IGN); }

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
  Limits limits_;
  Direction direction_{from_, to_, pools_, limits_};
  std::uint64_t seed_ = 0;
};

struct AlwaysSplicing : Sockets {
  AlwaysSplicing() : Sockets({.mode = Mode::kSplice}) {}
};

TEST_F(AlwaysSplicing, CopiesNothing) {
  for (int i = 0; i < 100; ++i) pass(i % 10 == 0 ? 1'000'000 : 100);
  EXPECT_EQ(direction_.bytes(), 10 * 1'000'000u + 90 * 100u);
  EXPECT_EQ(direction_.spliced_bytes(), direction_.bytes());
}

struct AlwaysCopying : Sockets {
  AlwaysCopying() : Sockets({.mode = Mode::kCopy}) {}
};

TEST_F(AlwaysCopying, SplicesNothing) {
  pass(16 * 1024 * 1024);
  EXPECT_EQ(direction_.spliced_bytes(), 0u);
}

struct SplicingSoon : Sockets {
  SplicingSoon() : Sockets({.thresholds = {.splice_from = 1000, .copy_below = 0}}) {}
};

TEST_F(SplicingSoon, KeepsToItsThresholds) {
  pass(900);
  pass(900);
  EXPECT_EQ(direction_.spliced_bytes(), 0u);
  pass(100'000);  // copied at first
  const std::uint64_t spliced = direction_.spliced_bytes();
  EXPECT_GT(spliced, 0u);
  for (int i = 0; i < 10; ++i) pass(9);  // nothing is below copy_below
  EXPECT_EQ(direction_.spliced_bytes(), spliced + 90);
}

TEST_F(Sockets, CopiesSmallMessages) {
  for (int i = 0; i < 100; ++i) pass(1000);
  EXPECT_EQ(direction_.bytes(), 100'000u);
  EXPECT_EQ(direction_.spliced_bytes(), 0u);
}

TEST_F(Sockets, SplicesABulkTransfer) {
  constexpr std::size_t kBulk = 16 * 1024 * 1024;
  pass(kBulk);
  EXPECT_GT(direction_.spliced_bytes(), kBulk / 2);
  EXPECT_EQ(direction_.bytes(), kBulk);
}

TEST_F(Sockets, GoesBackToCopyingWhenTheStreamIsQuiet) {
  pass(4 * 1024 * 1024);
  for (int i = 0; i < 4; ++i) pass(100);
  const std::uint64_t spliced = direction_.spliced_bytes();
  for (int i = 0; i < 10; ++i) pass(100);
  EXPECT_EQ(direction_.spliced_bytes(), spliced);
  pass(4 * 1024 * 1024);
  EXPECT_GT(direction_.spliced_bytes(), spliced);
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
