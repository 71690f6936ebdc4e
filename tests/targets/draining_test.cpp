// Promised: a target whose group has a draining interval is unhealthy.draining for so long before it is
// unhealthy, unless passed checks bring it back; it gets no flow then, and counts as unhealthy; a successor
// goes on with what is left of the interval.
#include <gtest/gtest.h>

#include "tlsplice/targets/health.hpp"

namespace tlsplice::targets {
namespace {

using namespace std::chrono_literals;

constexpr Outcome kPass{};
constexpr Outcome kFail{kTimeout};

std::vector<WatchedGroup> groups_of(std::uint16_t targets) {
  WatchedGroup group{.group = {.name = "app"}, .listener_port = 443};
  for (std::uint16_t port = 1; port <= targets; ++port) group.group.targets.push_back({"192.0.2.1", port});
  return {group};
}

struct DrainingTest : testing::Test {
  HealthTable table = std::move(*HealthTable::create(groups_of(1)));
  tlsplice_target_health& target = table.targets_of(0)[0];
  Thresholds thresholds{.healthy = 3, .unhealthy = 2, .draining_interval = 60s};
  Moment at{.wall = base::WallTime(1'700'000'000s), .steady = base::Instant(500s)};

  DrainingTest() {
    enter(kPass);
    enter(kFail);
    EXPECT_TRUE(enter(kFail));
  }
  bool enter(Outcome outcome) { return enter_check(target, outcome, thresholds, at); }
  void expect(std::string_view state, std::string_view reason = {}) const {
    EXPECT_EQ(word(target.state), state);
    EXPECT_EQ(word(target.reason), reason);
  }
  bool end_at(base::Instant time) {
    at.steady = time;
    return end_draining(target, at);
  }
};

TEST_F(DrainingTest, IsUnhealthyWhenTheIntervalIsOver) {
  expect(kUnhealthyDraining, kFailedHealthChecks);
  EXPECT_EQ(drains_until(target), base::Instant(560s));
  EXPECT_FALSE(end_at(base::Instant(560s - 1ns)));
  expect(kUnhealthyDraining, kFailedHealthChecks);
  EXPECT_TRUE(end_at(base::Instant(560s)));
  expect(kUnhealthy, kFailedHealthChecks);
  EXPECT_EQ(drains_until(target), std::nullopt);
  EXPECT_EQ(target.StateChangeCount, 3u);
  EXPECT_FALSE(end_at(base::Instant(700s)));
  enter(kFail);
  expect(kUnhealthy, kTimeout);
  EXPECT_EQ(drains_until(target), std::nullopt) << "only once each time";
}

TEST_F(DrainingTest, FurtherFailuresDoNotProlongIt) {
  at.steady += 30s;
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(enter(kFail));
  expect(kUnhealthyDraining, kFailedHealthChecks);
  EXPECT_EQ(drains_until(target), base::Instant(560s));
}

TEST_F(DrainingTest, PassesInARowMakeItHealthy) {
  for (const Outcome& outcome : {kPass, kPass, kFail, kPass, kPass}) EXPECT_FALSE(enter(outcome));
  EXPECT_TRUE(enter(kPass));
  expect(kHealthy);
  EXPECT_EQ(drains_until(target), std::nullopt);
  EXPECT_FALSE(end_at(base::Instant(700s)));
  expect(kHealthy);
  EXPECT_FALSE(enter(kFail));
  EXPECT_TRUE(enter(kFail));
  EXPECT_EQ(drains_until(target), base::Instant(760s));
}

TEST_F(DrainingTest, CanBeShortenedOnly) {
  limit_draining(target, base::Instant(570s));
  EXPECT_EQ(drains_until(target), base::Instant(560s));
  limit_draining(target, base::Instant(510s));
  EXPECT_EQ(drains_until(target), base::Instant(510s));
  enter_check(target, {}, {.healthy = 1}, at);
  limit_draining(target, base::Instant(1s));
  EXPECT_EQ(drains_until(target), std::nullopt);
}

TEST_F(DrainingTest, GetsNoFlowsAndCountsAsUnhealthy) {
  enter_group(table.group(0), table.targets_of(0), {});
  EXPECT_EQ(table.group(0).UnHealthyHostCount, 1u);
  EXPECT_EQ(table.group(0).HealthyHostCount, 0u);
  EXPECT_EQ(table.group(0).fail_open, 1u) << "there is no other";
}

TEST_F(DrainingTest, GoesOnInTheNextTable) {
  const auto groups = groups_of(2);
  HealthTable next = std::move(*HealthTable::create(groups));
  next.go_on_from(table, groups);
  EXPECT_EQ(word(next.targets_of(0)[0].state), kUnhealthyDraining);
  EXPECT_EQ(drains_until(next.targets_of(0)[0]), base::Instant(560s));
  EXPECT_EQ(word(next.targets_of(0)[1].state), kInitial);
}

}  // namespace
}  // namespace tlsplice::targets
