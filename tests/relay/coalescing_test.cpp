// Promised: while bytes come fast and one way only, the kernel tells of no fewer than the mark; never in an
// exchange of messages, in a slow flow, or in a short one; and what is there when they pause wakes the reader
// soon. Checked on real sockets by what the kernel says of them, alone and in a flow that the relay moves;
// whole uploads are in tests/e2e/05_transfer.
#include "../../src/relay/coalescing.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <thread>

#include "flow.hpp"
#include "tlsplice/uring/ops.hpp"

namespace tlsplice::relay {
namespace {

using base::Milliseconds;
using tests::World;

constexpr std::uint64_t kWindow = Coalescing::kWindowBytes;
constexpr std::uint64_t kRow = Coalescing::kRowBytes;

int low_water_of(int fd) {
  int bytes = 0;
  socklen_t size = sizeof bytes;
  EXPECT_EQ(::getsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, &size), 0);
  return bytes;
}

struct CoalescingTest : testing::Test {
  CoalescingTest() {
    const int bytes = 1024 * 1024;
    EXPECT_EQ(::setsockopt(connection.ours.get(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes), 0);
    tick();
  }

  void tick() { world.run_for(Milliseconds(0)); }
  /// So many bytes, as fast as can be: the ring's time stands still.
  void come(std::uint64_t bytes) {
    for (std::uint64_t i = 0; i < bytes; i += kWindow) coalescing->moved(total += kWindow);
  }
  int low_water() const { return low_water_of(connection.ours.get()); }
  bool readable() const {
    pollfd asked{.fd = connection.ours.get(), .events = POLLIN, .revents = 0};
    return ::poll(&asked, 1, 0) == 1;
  }

  World world;
  tests::Connection connection = tests::connection();
  std::unique_ptr<Coalescing> coalescing = Coalescing::of(world.ring(), connection.ours.get());
  std::uint64_t total = 0;
};

TEST_F(CoalescingTest, BeginsWhenMuchCameFast) {
  come(kRow - kWindow);
  EXPECT_EQ(low_water(), 1);
  come(2 * kWindow);
  EXPECT_EQ(low_water(), Coalescing::kLowWater);
}

TEST_F(CoalescingTest, TellsOfLittleOnlyAfterAPause) {
  come(2 * kRow);
  ASSERT_EQ(::send(connection.peer.get(), "the rest", 8, 0), 8);
  EXPECT_FALSE(readable());
  uring::Gate gate(world.ring());
  uring::Stop stop;
  int events = 0;
  uring::spawn(gate, [](uring::Ring& ring, uring::Stop& until, int fd, int& seen) -> uring::Task<void> {
    seen = co_await uring::readable(ring, until, fd);
  }(world.ring(), stop, connection.ours.get(), events));
  const base::Instant start = base::now();
  world.run_until_empty(gate);
  EXPECT_NE(events & POLLIN, 0);
  EXPECT_LT(base::now() - start, std::chrono::seconds(1));
  EXPECT_EQ(low_water(), 1);
  EXPECT_FALSE(coalescing->active());
}

TEST_F(CoalescingTest, GoesOnWhileBytesCome) {
  bool went_on = false;  // once is enough: on a busy machine the bytes may pause with us
  for (int i = 0; i < 50 && !went_on; ++i) {
    come(2 * kRow);
    const base::Instant end = base::now() + Milliseconds(5);
    while (base::now() < end && coalescing->active()) {
      coalescing->moved(++total);
      tick();
    }
    went_on = coalescing->active() && low_water() == Coalescing::kLowWater;
  }
  EXPECT_TRUE(went_on);
}

TEST_F(CoalescingTest, BeginsAgainAfterAPauseWithoutWaitingForAWholeRow) {
  come(2 * kRow);
  world.run_for(Milliseconds(20));
  ASSERT_EQ(low_water(), 1);
  come(2 * kWindow);
  EXPECT_EQ(low_water(), Coalescing::kLowWater);
}

TEST_F(CoalescingTest, NeverInAnExchange) {
  for (int i = 0; i < 100; ++i) {
    come(kRow / 2);
    coalescing->turned();
  }
  EXPECT_EQ(low_water(), 1);
}

TEST_F(CoalescingTest, NeverInASlowFlow) {
  for (int i = 0; i < 30; ++i) {
    come(kWindow);
    world.run_for(Milliseconds(3));
  }
  EXPECT_EQ(low_water(), 1);
}

TEST_F(CoalescingTest, NeverWhereTheBufferIsSmall) {
  const int bytes = 64 * 1024;
  ASSERT_EQ(::setsockopt(connection.ours.get(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes), 0);
  come(4 * kRow);
  EXPECT_EQ(low_water(), 1);
}

TEST_F(CoalescingTest, AnEndIsToldAtOnce) {
  come(2 * kRow);
  ASSERT_EQ(::shutdown(connection.peer.get(), SHUT_WR), 0);
  EXPECT_TRUE(readable());
}

/// A stream that can be spliced from or not, as TLS in user space cannot; says what the kernel waited for.
class Source final : public net::SocketStream {
 public:
  Source(base::Fd socket, net::Splicing out) : SocketStream(std::move(socket)), out_(out) {}
  net::Io read(std::span<std::byte> into) override {
    most = std::max(most.load(), low_water_of(fd()));
    return SocketStream::read(into);
  }
  net::Splicing splices_out() const override { return out_; }

  std::atomic<int> most = 0;

 private:
  net::Splicing out_;
};

/// What the kernel waited for, at most, in an upload of up to `bytes`, which ends once it is the mark.
int waited_for(net::Splicing out, std::uint64_t bytes) {
  World world;
  Pools pools;
  tests::Connection front = tests::connection(1024 * 1024);
  tests::Connection back = tests::connection(1024 * 1024);
  Source client(std::move(front.ours), out);
  net::SocketStream target(std::move(back.ours));
  std::jthread sender([&] {
    const std::string block(256 * 1024, 'x');
    for (std::uint64_t sent = 0; sent < bytes && client.most < Coalescing::kLowWater; sent += block.size()) {
      if (!tests::send_all(front.peer.get(), block)) break;
    }
    tests::end_write(front.peer);
  });
  std::jthread reader([&] {
    std::string block(256 * 1024, 'x');
    while (::recv(back.peer.get(), block.data(), block.size(), 0) > 0) {
    }
    tests::end_write(back.peer);
  });
  // Without splicing: it is the copies that are made larger.
  Limits limits = tests::kPatient;
  limits.mode = Mode::kCopy;
  EXPECT_EQ(world.run(tests::relayed(world, pools, client, target, limits)).finish, Finish::kClosed);
  return client.most;
}

TEST(CoalescingFlow, IsHowAFastUploadIsMovedThatCannotBeSpliced) {
  EXPECT_EQ(waited_for(net::Splicing::kNever, std::uint64_t{1} << 31U), Coalescing::kLowWater);
}

TEST(CoalescingFlow, OthersAreToldOfEveryByte) {
  EXPECT_EQ(waited_for(net::Splicing::kPossible, std::uint64_t{1} << 27U), 1);
}

}  // namespace
}  // namespace tlsplice::relay
