// Promised: flows are a sign only when some failed and none succeeded since the last look; a few log lines a
// minute go through, and what was held back is said once, when the minute is over.
#include "../../src/monitor/signs.hpp"

#include <gtest/gtest.h>

namespace tlsplice::monitor {
namespace {

using namespace std::chrono_literals;

TEST(FlowSigns, AreBadOnlyWhenEveryFlowFailed) {
  FlowSigns signs(10, 3);
  EXPECT_FALSE(signs.bad(10, 3)) << "nothing happened";
  EXPECT_TRUE(signs.bad(10, 4));
  EXPECT_FALSE(signs.bad(10, 4)) << "seen already";
  EXPECT_FALSE(signs.bad(11, 9)) << "one succeeded";
  EXPECT_FALSE(signs.bad(12, 9));
  EXPECT_TRUE(signs.bad(12, 10));
}

TEST(FewAMinute, HoldsTheRestBack) {
  FewAMinute lines;
  base::Instant now{1000s};
  EXPECT_EQ(lines.summary(now), 0u);
  for (unsigned i = 0; i < FewAMinute::kMost; ++i) EXPECT_TRUE(lines.allow(now)) << i;
  for (int i = 0; i < 7; ++i) EXPECT_FALSE(lines.allow(now + 59s));
  EXPECT_EQ(lines.summary(now + 59s), 0u) << "the minute is not over";
  EXPECT_EQ(lines.summary(now + 60s), 7u);
  EXPECT_EQ(lines.summary(now + 60s), 0u) << "said once";
  EXPECT_TRUE(lines.allow(now + 60s));
}

TEST(FewAMinute, AQuietTargetLosesNoLine) {
  FewAMinute lines;
  base::Instant now{1000s};
  for (int i = 0; i < 100; ++i, now += 20s) ASSERT_TRUE(lines.allow(now)) << i;
  EXPECT_EQ(lines.summary(now + 1h), 0u);
}

}  // namespace
}  // namespace tlsplice::monitor
