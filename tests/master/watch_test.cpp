// Promised: a worker is stuck when its heartbeat stands still for three seconds of the master's own waking
// time, and no longer when it moves. Checked with times of the test's own choosing.
#include "../../src/master/watch.hpp"

#include <gtest/gtest.h>

namespace tlsplice::master {
namespace {

using base::Instant;
using base::Milliseconds;

/// Looks for that long at a heartbeat that stands still.
Instant look_on(Watch& watch, Instant from, Milliseconds length) {
  const Instant end = from + length;
  for (Instant now = from; now < end; now += Watch::kBetweenLooks) watch.look(7, now);
  return end;
}

TEST(Watch, BeginsUnconcerned) {
  EXPECT_FALSE(Watch().stuck());
}

TEST(Watch, FindsAHeartThatStandsStill) {
  Watch watch;
  watch.look(7, Instant{});
  const Instant almost = look_on(watch, Instant{} + Watch::kBetweenLooks, Milliseconds(2500));
  EXPECT_FALSE(watch.stuck());
  watch.look(7, almost);
  EXPECT_TRUE(watch.stuck());
  EXPECT_EQ(watch.silent(), Watch::kStuckAfter);
}

TEST(Watch, IsReconciledByOneBeat) {
  Watch watch;
  const Instant later = look_on(watch, Instant{}, Milliseconds(10'000));
  EXPECT_TRUE(watch.stuck());
  watch.look(8, later);
  EXPECT_FALSE(watch.stuck());
}

TEST(Watch, DoesNotCountTheTimeThatTheMasterSleptItself) {
  Watch watch;
  watch.look(7, Instant{});
  watch.look(7, Instant{} + std::chrono::hours(1));
  EXPECT_FALSE(watch.stuck());
  EXPECT_LE(watch.silent(), 2 * Watch::kBetweenLooks);
}

TEST(Watch, ANewWorkerThatNeverBeatsIsStuckToo) {
  Watch watch;
  for (int i = 0; i < 10; ++i) watch.look(0, Instant{} + i * Watch::kBetweenLooks);
  EXPECT_TRUE(watch.stuck());
}

}  // namespace
}  // namespace tlsplice::master
