// Promised: OncePerSecond lets one event through each second and says how many it held back since the last.
// Checked with times of the test's own choosing.
#include "tlsplice/base/clock.hpp"

#include <gtest/gtest.h>

namespace tlsplice::base {
namespace {

const Instant kStart = Instant() + std::chrono::hours(5);

TEST(OncePerSecond, LetsTheFirstThrough) {
  OncePerSecond once;
  EXPECT_TRUE(once.allow(kStart));
  EXPECT_EQ(once.held_back(), 0u);
}

TEST(OncePerSecond, HoldsBackTheRestOfTheSecond) {
  OncePerSecond once;
  EXPECT_TRUE(once.allow(kStart));
  for (int ms = 0; ms < 1000; ++ms) EXPECT_FALSE(once.allow(kStart + Milliseconds(ms)));
  EXPECT_TRUE(once.allow(kStart + Milliseconds(1000)));
  EXPECT_EQ(once.held_back(), 1000u);
}

TEST(OncePerSecond, CountsAnewEachTime) {
  OncePerSecond once;
  EXPECT_TRUE(once.allow(kStart));
  EXPECT_FALSE(once.allow(kStart + Milliseconds(1)));
  EXPECT_TRUE(once.allow(kStart + std::chrono::seconds(7)));
  EXPECT_EQ(once.held_back(), 1u);
  EXPECT_FALSE(once.allow(kStart + Milliseconds(7999)));
  EXPECT_FALSE(once.allow(kStart + Milliseconds(7999)));
  EXPECT_EQ(once.held_back(), 1u);  // of the line that was written
  EXPECT_TRUE(once.allow(kStart + Milliseconds(8000)));
  EXPECT_EQ(once.held_back(), 2u);
  EXPECT_TRUE(once.allow(kStart + Milliseconds(9000)));
  EXPECT_EQ(once.held_back(), 0u);
}

TEST(Clock, OnlyGoesForward) {
  const Instant before = now();
  EXPECT_LE(before, now());
}

}  // namespace
}  // namespace tlsplice::base
