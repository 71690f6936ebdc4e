// Promised: a target's state follows its checks as the load balancer's does; a group's bits say which targets
// are to be used, all of them when too few are healthy; a target is chosen evenly among those, never another
// one, also while nobody has checked yet; a successor goes on from the rows it finds.
#include "tlsplice/targets/health.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "tlsplice/targets/group.hpp"

namespace tlsplice::targets {
namespace {

using namespace std::chrono_literals;

constexpr Outcome kPass{};
constexpr Outcome kFail{kFailedHealthChecks};

WatchedGroup watched(std::size_t count, bool enabled = true) {
  WatchedGroup group{.group = {.name = "app"}, .listener_port = 443};
  for (std::size_t i = 0; i < count; ++i)
    group.group.targets.push_back({"192.0.2.1", static_cast<std::uint16_t>(i + 1)});
  group.group.health_check.enabled = enabled;
  return group;
}

HealthTable table_of(std::vector<WatchedGroup> groups) {
  return std::move(*HealthTable::create(groups));
}

/// One target and what checks make of it.
struct StateTest : testing::Test {
  HealthTable table = table_of({watched(1)});
  tlsplice_target_health& target = table.targets_of(0)[0];
  Thresholds thresholds{.healthy = 3, .unhealthy = 2};
  Moment at{.wall = base::WallTime(1'700'000'000s), .steady = base::Instant(500s)};

  bool enter(Outcome outcome) { return enter_check(target, outcome, thresholds, at); }
  void expect(std::string_view state, std::string_view reason = {}) const {
    EXPECT_EQ(word(target.state), state);
    EXPECT_EQ(word(target.reason), reason);
  }
};

TEST_F(StateTest, BeginsAsInitial) {
  expect(kInitial, kInitialHealthChecking);
  EXPECT_EQ(word(target.target), "192.0.2.1:1");
  EXPECT_EQ(word(target.target_group), "app");
  EXPECT_EQ(target.changed_at, 0u);
}

TEST_F(StateTest, OnePassIsEnoughAtFirst) {
  EXPECT_FALSE(enter(kFail));
  expect(kInitial, kInitialHealthChecking);
  EXPECT_TRUE(enter(kPass));
  expect(kHealthy);
  EXPECT_EQ(target.changed_at, 1'700'000'000u);
  EXPECT_EQ(target.checked_at, 1'700'000'000u);
}

TEST_F(StateTest, FailuresInARowMakeItUnhealthy) {
  enter(kPass);
  EXPECT_FALSE(enter(kFail));
  EXPECT_FALSE(enter(kPass));
  EXPECT_FALSE(enter(kFail));
  expect(kHealthy);
  at.wall += 60s;
  EXPECT_TRUE(enter({kTimeout}));
  expect(kUnhealthy, kTimeout);
  EXPECT_EQ(target.changed_at, 1'700'000'060u);
}

TEST_F(StateTest, ANewTargetThatFailsIsUnhealthyToo) {
  enter(kFail);
  EXPECT_TRUE(enter(kFail));
  expect(kUnhealthy, kFailedHealthChecks);
}

TEST_F(StateTest, PassesInARowMakeItHealthyAgain) {
  enter(kFail);
  enter(kFail);
  for (const Outcome& outcome : {kPass, kPass, kFail, kPass, kPass}) EXPECT_FALSE(enter(outcome));
  expect(kUnhealthy, kFailedHealthChecks);
  EXPECT_TRUE(enter(kPass));
  expect(kHealthy);
  EXPECT_EQ(target.consecutive_passes, 3u);
  EXPECT_EQ(target.consecutive_failures, 0u);
}

TEST_F(StateTest, TheReasonIsTheLastFailures) {
  enter(kFail);
  enter(kFail);
  EXPECT_FALSE(enter({kResponseCodeMismatch}));
  expect(kUnhealthy, kResponseCodeMismatch);
}

TEST_F(StateTest, EverythingIsCounted) {
  for (const Outcome& outcome : {kPass, kPass, kFail, kFail, kFail}) enter(outcome);
  EXPECT_EQ(target.PassedCheckCount, 2u);
  EXPECT_EQ(target.FailedCheckCount, 3u);
  EXPECT_EQ(target.StateChangeCount, 2u);
  EXPECT_EQ(target.consecutive_failures, 3u);
}

/// Whoever comes next finds the row, and no memory but the row.
TEST_F(StateTest, ASuccessorGoesOn) {
  enter(kPass);
  enter(kFail);
  const tlsplice_target_health found = target;
  target = found;
  EXPECT_TRUE(enter(kFail));
  expect(kUnhealthy, kFailedHealthChecks);
}

TEST_F(StateTest, AStateCutShortIsNoTrap) {
  std::memset(target.state, 'x', sizeof target.state);
  EXPECT_EQ(word(target.state).size(), sizeof target.state);
  EXPECT_TRUE(enter(kPass));
  expect(kHealthy);
}

// ---- The group

struct GroupTest : testing::Test {
  HealthTable table = table_of({watched(3, false), watched(130), watched(0)});
  tlsplice_target_group& group = table.group(1);

  void set(std::size_t target, const Outcome& outcome) {
    for (int i = 0; i < 3; ++i) enter_check(table.targets_of(1)[target], outcome, {}, {});
  }
  void enter(const policy::MinimumHealthyTargets& minimum = {}) {
    enter_group(group, table.targets_of(1), minimum);
  }
  std::set<std::size_t> usable() const {
    std::set<std::size_t> bits;
    for (std::size_t i = 0; i < TLSPLICE_TARGETS_OF_A_GROUP_MAX; ++i)
      if ((group.usable[i / 64] >> (i % 64) & 1) != 0) bits.insert(i);
    return bits;
  }
};

TEST_F(GroupTest, BeginsWithAllTargets) {
  EXPECT_EQ(usable().size(), 130u);
  EXPECT_EQ(group.fail_open, 1u);
  EXPECT_EQ(group.checked, 1u);
  enter();
  EXPECT_EQ(usable().size(), 130u);
  EXPECT_EQ(group.HealthyHostCount + group.UnHealthyHostCount, 0u);
}

TEST_F(GroupTest, TheHealthyOnesAreUsed) {
  for (const std::size_t target : {0UZ, 63UZ, 64UZ, 129UZ}) set(target, kPass);
  set(5, kFail);
  enter();
  EXPECT_EQ(usable(), (std::set<std::size_t>{0, 63, 64, 129}));
  EXPECT_EQ(group.HealthyHostCount, 4u);
  EXPECT_EQ(group.UnHealthyHostCount, 1u);
  EXPECT_EQ(group.fail_open, 0u);
}

TEST_F(GroupTest, FewerThanTheCountOpensToAll) {
  set(0, kPass);
  set(1, kPass);
  enter({.count = 3});
  EXPECT_EQ(group.fail_open, 1u);
  EXPECT_EQ(usable().size(), 130u);
  set(2, kPass);
  enter({.count = 3});
  EXPECT_EQ(group.fail_open, 0u);
  EXPECT_EQ(usable().size(), 3u);
}

TEST_F(GroupTest, LessThanThePercentageOpensToAll) {
  for (std::size_t i = 0; i < 65; ++i) set(i, kPass);
  enter({.percentage = 50});
  EXPECT_EQ(group.fail_open, 0u);
  enter({.percentage = 51});
  EXPECT_EQ(group.fail_open, 1u);
  set(64, kFail);
  enter({.percentage = 50});
  EXPECT_EQ(group.fail_open, 1u);
}

TEST_F(GroupTest, AllUnhealthyIsFailOpenToo) {
  for (std::size_t i = 0; i < 130; ++i) set(i, kFail);
  enter();
  EXPECT_EQ(group.UnHealthyHostCount, 130u);
  EXPECT_EQ(group.fail_open, 1u);
  EXPECT_EQ(usable().size(), 130u);
}

TEST_F(GroupTest, WithoutChecksAllAreUsed) {
  EXPECT_EQ(word(table.targets_of(0)[2].state), kUnavailable);
  EXPECT_EQ(word(table.targets_of(0)[2].reason), kHealthCheckDisabled);
  EXPECT_EQ(table.group(0).usable[0], 0b111u);
  EXPECT_EQ(table.group(0).fail_open, 0u);
  EXPECT_EQ(table.group(0).checked, 0u);
}

TEST_F(GroupTest, AGroupThatNoListenerUsesIsUnused) {
  WatchedGroup lonely = watched(1);
  lonely.listener_port = 0;
  const HealthTable unused = table_of({lonely});
  EXPECT_EQ(word(unused.targets_of(0)[0].state), kUnused);
  EXPECT_EQ(word(unused.targets_of(0)[0].reason), kNotInUse);
}

TEST_F(GroupTest, EmptyGroupsHaveNoTargets) {
  EXPECT_TRUE(table.targets_of(2).empty());
  EXPECT_EQ(table.target_rows().size(), 133u);
  EXPECT_EQ(table.group_rows().size(), 3u);
  const HealthTable nothing = table_of({watched(0)});
  EXPECT_TRUE(nothing.target_rows().empty());
  EXPECT_EQ(nothing.group_rows().size(), 1u);
  EXPECT_EQ(choose_usable(nothing.group(0), 0, 7), std::nullopt);
}

// ---- Choosing

struct ChooseUsableTest : testing::Test {
  tlsplice_target_group group{};
  std::mt19937_64 random{1};

  void use(std::initializer_list<std::size_t> targets) {
    for (const std::size_t i : targets) group.usable[i / 64] |= std::uint64_t{1} << (i % 64);
  }
  std::map<std::size_t, int> chosen(std::size_t count, std::optional<std::size_t> refused = {}) {
    std::map<std::size_t, int> times;
    for (int i = 0; i < 40'000; ++i) ++times[choose_usable(group, count, random(), refused).value()];
    return times;
  }
  static void expect_even(const std::map<std::size_t, int>& times, std::set<std::size_t> targets) {
    EXPECT_EQ(times.size(), targets.size());
    const double share = 40'000.0 / static_cast<double>(targets.size());
    for (const auto& [target, count] : times) {
      EXPECT_TRUE(targets.contains(target)) << target;
      EXPECT_NEAR(count, share, share * 0.1) << target;
    }
  }
};

TEST_F(ChooseUsableTest, IsEvenOverTheUsableOnes) {
  use({0, 1, 63, 64, 127, 128, 500, 1022, 1023});
  expect_even(chosen(1024), {0, 1, 63, 64, 127, 128, 500, 1022, 1023});
}

TEST_F(ChooseUsableTest, TheOnlyOneIsAlwaysChosen) {
  use({700});
  expect_even(chosen(1024), {700});
}

TEST_F(ChooseUsableTest, BitsBeyondTheGroupAreNobodys) {
  use({1, 3, 64, 1000});
  expect_even(chosen(3), {1});
  expect_even(chosen(64), {1, 3});
}

TEST_F(ChooseUsableTest, WithoutMarksAllAreUsed) {
  expect_even(chosen(5), {0, 1, 2, 3, 4});
  use({6});
  expect_even(chosen(5), {0, 1, 2, 3, 4});
}

TEST_F(ChooseUsableTest, AllOfAFullGroup) {
  std::set<std::size_t> seen;
  for (int i = 0; i < 100'000; ++i) seen.insert(choose_usable(group, 1024, random()).value());
  EXPECT_EQ(seen.size(), 1024u);
}

TEST_F(ChooseUsableTest, ARefusedOneIsPassedOver) {
  use({2, 70, 100});
  expect_even(chosen(128, 70), {2, 100});
  expect_even(chosen(128, 5), {2, 70, 100});
}

TEST_F(ChooseUsableTest, TheFlowsOfARefusedOneGoToAllOthers) {
  use({0, 1, 2, 3, 4});
  std::map<std::size_t, int> second;
  for (int i = 0; i < 50'000; ++i) {
    const std::uint64_t hash = random();
    if (choose_usable(group, 5, hash) == 2) ++second[choose_usable(group, 5, hash, 2).value()];
  }
  ASSERT_EQ(second.size(), 4u);
  for (const auto& [target, count] : second) EXPECT_NEAR(count, 2500, 250) << target;
}

TEST_F(ChooseUsableTest, ThereMayBeNoOther) {
  use({9});
  EXPECT_EQ(choose_usable(group, 10, random(), 9), std::nullopt);
  EXPECT_EQ(choose_usable(tlsplice_target_group{}, 1, random(), 0), std::nullopt);
  EXPECT_EQ(choose_usable(tlsplice_target_group{}, 2, random(), 0), 1u);
}

std::map<std::string, int> flows(std::initializer_list<std::pair<const char*, std::uint32_t>> weights) {
  std::vector<Share> shares;
  for (const auto& [name, weight] : weights) shares.push_back({.group = {.name = name}, .weight = weight});
  std::map<std::string, int> times;
  std::mt19937_64 random(3);
  for (int i = 0; i < 100'000; ++i) ++times[choose_group(random(), shares)->group.name];
  return times;
}

TEST(ChooseGroup, FollowsTheWeights) {
  auto times = flows({{"blue", 90}, {"green", 10}});
  EXPECT_NEAR(times["blue"], 90'000, 500);
  times = flows({{"a", 999}, {"b", 0}, {"c", 999}, {"d", 1}});
  EXPECT_EQ(times.count("b"), 0u);
  EXPECT_NEAR(times["a"], times["c"], 1500);
  EXPECT_NEAR(times["d"], 50, 40);
  EXPECT_EQ(flows({{"only", 7}})["only"], 100'000);
}

TEST(ChooseGroup, ThereIsNoneWhereAllWeightsAreZero) {
  EXPECT_EQ(choose_group(1, std::vector<Share>{{.group = {}, .weight = 0}, {.group = {}, .weight = 0}}),
            nullptr);
}

/// Else the flows of a group would be those of the lower hashes, and so would meet only some of its targets.
TEST(ChooseGroup, SaysNothingOfTheTarget) {
  const std::vector<Share> shares = {{.group = {.name = "a"}}, {.group = {.name = "b"}}};
  std::mt19937_64 random(5);
  std::map<std::pair<std::string, std::size_t>, int> times;
  for (int i = 0; i < 40'000; ++i) {
    const std::uint64_t hash = random();
    ++times[{choose_group(hash, shares)->group.name, choose(hash, 4)}];
  }
  ASSERT_EQ(times.size(), 8u);
  for (const auto& [pair, count] : times) EXPECT_NEAR(count, 5000, 400);
}

}  // namespace
}  // namespace tlsplice::targets
