// Promised: an Fd closes its descriptor exactly once, when it dies, and never one that it gave away. Checked
// by asking the kernel which descriptors are open (fcntl), on duplicates of /dev/null's descriptor.
#include "tlsplice/base/fd.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <type_traits>

namespace tlsplice::base {
namespace {

int open_one() {
  return ::open("/dev/null", O_RDONLY | O_CLOEXEC);
}

bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

TEST(Fd, AnEmptyOneHoldsNothing) {
  const Fd empty;
  EXPECT_FALSE(empty);
  EXPECT_EQ(empty.get(), -1);
}

TEST(Fd, ClosesWhenItDies) {
  const int number = open_one();
  {
    const Fd fd(number);
    EXPECT_TRUE(fd);
    EXPECT_EQ(fd.get(), number);
    EXPECT_TRUE(is_open(number));
  }
  EXPECT_FALSE(is_open(number));
}

TEST(Fd, ClosesOnceAfterMoves) {
  const int number = open_one();
  {
    Fd first(number);
    Fd second(std::move(first));
    EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): what a move leaves is promised
    Fd third;
    third = std::move(second);
    EXPECT_FALSE(second);  // NOLINT(bugprone-use-after-move)
    EXPECT_TRUE(is_open(number));
    EXPECT_EQ(third.get(), number);
  }
  EXPECT_FALSE(is_open(number));
}

TEST(Fd, AMovedFromOneDoesNotCloseWhatTookItsNumber) {
  const int number = open_one();
  Fd owner;
  {
    Fd passing(number);
    passing.reset();
    owner = Fd(open_one());  // the kernel gives the lowest number, so the same again
    ASSERT_EQ(owner.get(), number);
  }
  EXPECT_TRUE(is_open(number));
}

TEST(Fd, AssignmentClosesWhatItHeld) {
  const int old_number = open_one();
  const int new_number = open_one();
  Fd fd(old_number);
  fd = Fd(new_number);
  EXPECT_FALSE(is_open(old_number));
  EXPECT_TRUE(is_open(new_number));
}

TEST(Fd, SurvivesAssignmentToItself) {
  Fd fd(open_one());
  Fd& same = fd;
  fd = std::move(same);
  EXPECT_TRUE(is_open(fd.get()));
}

TEST(Fd, ResetCloses) {
  const int number = open_one();
  Fd fd(number);
  fd.reset();
  EXPECT_FALSE(fd);
  EXPECT_FALSE(is_open(number));
  fd.reset();
  EXPECT_FALSE(fd);
}

TEST(Fd, ReleaseGivesUp) {
  int number = -1;
  {
    Fd fd(open_one());
    number = fd.release();
    EXPECT_FALSE(fd);
  }
  EXPECT_TRUE(is_open(number));
  const Fd tidy(number);
}

TEST(Fd, SwapExchanges) {
  Fd a(open_one());
  Fd b;
  const int number = a.get();
  a.swap(b);
  EXPECT_FALSE(a);
  EXPECT_EQ(b.get(), number);
}

static_assert(!std::is_copy_constructible_v<Fd> && !std::is_copy_assignable_v<Fd>);
static_assert(std::is_nothrow_move_constructible_v<Fd> && std::is_nothrow_move_assignable_v<Fd>);

}  // namespace
}  // namespace tlsplice::base
