// Promised: flows with a target that was deregistered end when its delay is over and its group says so, those
// with one that turned unhealthy at once unless its group says otherwise or is open to all; each once. A
// target that is registered again does not drain. Those that a listener forwards to a group end when its
// weight is set to 0.
#include "../../src/master/departures.hpp"

#include <gtest/gtest.h>

#include <cstring>

namespace tlsplice::master {
namespace {

using namespace std::chrono_literals;
using Targets = std::vector<Departures::Target>;

const base::Instant kStart{1000s};

policy::Config config_of(std::vector<policy::HostPort> targets, bool terminate = true) {
  policy::Config config;
  policy::TargetGroup& group = config.target_groups.emplace_back();
  group.name = "app";
  group.targets = std::move(targets);
  group.deregistration_delay = {.timeout = 60s, .connection_termination = terminate};
  return config;
}

const policy::HostPort kOne{"192.0.2.1", 80};
const policy::HostPort kTwo{"192.0.2.2", 80};

targets::HealthTable table_of(const policy::Config& config) {
  std::vector<targets::WatchedGroup> groups;
  for (const policy::TargetGroup& group : config.target_groups) groups.push_back({group, 443});
  auto table = targets::HealthTable::create(groups);
  TLSPLICE_EXPECT(table.has_value(), "the tests can map memory");
  base::shared_set(table->group(0).fail_open, 0);
  return std::move(*table);
}

void set_state(const targets::HealthTable& table, std::size_t target, const char* state) {
  std::strcpy(table.targets_of(0)[target].state,
              state);  // NOLINT(clang-analyzer-security.insecureAPI.strcpy)
}

TEST(Departures, OfDeregisteredTargetsAreDueWhenTheDelayIsOver) {
  Departures departures;
  const policy::Config now = config_of({kOne});
  const auto health = table_of(now);
  departures.follow(config_of({kOne, kTwo}), now, kStart);
  EXPECT_EQ(departures.draining("app"), std::vector{kTwo});
  EXPECT_TRUE(departures.draining("other").empty());
  EXPECT_EQ(departures.take_due(now, health, kStart + 59s), Targets{});
  EXPECT_EQ(departures.take_due(now, health, kStart + 60s), (Targets{{"app", "192.0.2.2:80"}}));
  EXPECT_TRUE(departures.draining("app").empty());
  EXPECT_EQ(departures.take_due(now, health, kStart + 61s), Targets{});
}

TEST(Departures, WithoutTerminationFlowsGoOn) {
  Departures departures;
  const policy::Config now = config_of({}, false);
  const auto health = table_of(now);
  departures.follow(config_of({kOne}, false), now, kStart);
  EXPECT_EQ(departures.draining("app"), std::vector{kOne});
  EXPECT_EQ(departures.take_due(now, health, kStart + 60s), Targets{});
  EXPECT_TRUE(departures.draining("app").empty());
}

TEST(Departures, ATargetThatComesBackDoesNotDrain) {
  Departures departures;
  const policy::Config without = config_of({kOne});
  const policy::Config with = config_of({kOne, kTwo});
  const auto health = table_of(with);
  departures.follow(with, without, kStart);
  departures.follow(without, with, kStart + 10s);
  EXPECT_TRUE(departures.draining("app").empty());
  EXPECT_EQ(departures.take_due(with, health, kStart + 100s), Targets{});
}

TEST(Departures, AnotherChangeDoesNotProlongTheDelay) {
  Departures departures;
  const policy::Config now = config_of({kOne});
  const auto health = table_of(now);
  departures.follow(config_of({kOne, kTwo}), now, kStart);
  departures.follow(now, now, kStart + 30s);
  EXPECT_EQ(departures.take_due(now, health, kStart + 60s).size(), 1u);
}

TEST(Departures, OfTargetsThatTurnUnhealthyAreDueOnceEachTime) {
  Departures departures;
  const policy::Config config = config_of({kOne, kTwo});
  const auto health = table_of(config);
  set_state(health, 0, "healthy");
  EXPECT_EQ(departures.take_due(config, health, kStart), Targets{});
  for (int i = 0; i < 2; ++i) {
    set_state(health, 0, "unhealthy");
    EXPECT_EQ(departures.take_due(config, health, kStart), (Targets{{"app", "192.0.2.1:80"}}));
    EXPECT_EQ(departures.take_due(config, health, kStart), Targets{});
    set_state(health, 0, "healthy");
    EXPECT_EQ(departures.take_due(config, health, kStart), Targets{});
  }
}

TEST(Departures, OfUnhealthyTargetsAreNoneWhereTheGroupSaysSoOrIsOpenToAll) {
  Departures departures;
  policy::Config config = config_of({kOne});
  const auto health = table_of(config);
  set_state(health, 0, "unhealthy");
  base::shared_set(health.group(0).fail_open, 1);
  EXPECT_EQ(departures.take_due(config, health, kStart), Targets{});
  config.target_groups[0].unhealthy.connection_termination = false;
  base::shared_set(health.group(0).fail_open, 0);
  EXPECT_EQ(departures.take_due(config, health, kStart), Targets{});
}

/// Also while nobody knows how the targets are.
TEST(Departures, ASuccessorGoesOn) {
  const policy::Config before = config_of({kOne, kTwo});
  policy::Config now = config_of({kOne});
  now.listeners.emplace_back().name = "web";
  now.listeners[0].forward = {{"app", 0}};
  policy::Config weighty = before;
  weighty.listeners.emplace_back().name = "web";
  weighty.listeners[0].forward = {{"app", 1}};
  const auto health = table_of(now);
  set_state(health, 0, "unhealthy");
  Departures first;
  first.follow(weighty, now, kStart);
  EXPECT_EQ(first.take_due(now, health, kStart + 10s), (Targets{{"app", "192.0.2.1:80"}}));

  Departures next;
  next.adopt(first.bequeath());
  EXPECT_EQ(next.draining("app"), std::vector{kTwo});
  EXPECT_EQ(next.take_shares(), (std::vector<Departures::Share>{{"web", "app"}}));
  const auto nobody = targets::HealthTable::of_rows(0, -1);
  EXPECT_EQ(next.take_due(now, *nobody, kStart + 20s), Targets{});
  EXPECT_EQ(next.take_due(now, health, kStart + 59s), Targets{}) << "it has been unhealthy for long";
  EXPECT_EQ(next.take_due(now, health, kStart + 60s), (Targets{{"app", "192.0.2.2:80"}}));
}

TEST(Departures, OfTargetsThatDrainAreDueAfterIt) {
  Departures departures;
  policy::Config config = config_of({kOne});
  config.target_groups[0].unhealthy = {.connection_termination = false, .draining_interval = 60s};
  const auto health = table_of(config);
  set_state(health, 0, "unhealthy.draining");
  EXPECT_EQ(departures.take_due(config, health, kStart), Targets{});
  set_state(health, 0, "unhealthy");
  EXPECT_EQ(departures.take_due(config, health, kStart), (Targets{{"app", "192.0.2.1:80"}}));
  EXPECT_EQ(departures.take_due(config, health, kStart), Targets{});
}

policy::Config forwarding(std::vector<policy::Forward> forward, const char* listener) {
  policy::Config config = config_of({kOne});
  policy::Listener& made = config.listeners.emplace_back();
  made.name = listener;
  made.forward = std::move(forward);
  return config;
}

/// What is to end after these configurations, one after the other.
std::vector<Departures::Share> shares_after(const std::vector<policy::Config>& configs) {
  Departures departures;
  for (std::size_t i = 1; i < configs.size(); ++i) departures.follow(configs[i - 1], configs[i], kStart);
  auto taken = departures.take_shares();
  EXPECT_TRUE(departures.take_shares().empty()) << "each once";
  return taken;
}

TEST(Departures, OfAGroupWhoseWeightIsSetToZero) {
  using Shares = std::vector<Departures::Share>;
  const auto of = [](std::vector<policy::Forward> forward, const char* listener = "web") {
    return forwarding(std::move(forward), listener);
  };
  EXPECT_EQ(shares_after({of({{"a", 1}, {"b", 2}}), of({{"a", 0}, {"b", 2}})}), (Shares{{"web", "a"}}));
  EXPECT_EQ(shares_after({of({{"a", 1}, {"b", 2}}), of({{"a", 0}, {"b", 0}})}),
            (Shares{{"web", "a"}, {"web", "b"}}));
  EXPECT_EQ(shares_after({of({{"a", 1}}), of({{"a", 0}, {"b", 1}}), of({{"b", 1}})}), (Shares{{"web", "a"}}));
  EXPECT_EQ(shares_after({of({{"a", 1}}), of({{"a", 0}}), of({{"a", 1}})}), Shares{}) << "it was not meant";
  EXPECT_EQ(shares_after({of({{"a", 0}}), of({{"a", 0}})}), Shares{}) << "it had none";
  EXPECT_EQ(shares_after({of({{"a", 2}}), of({{"a", 1}})}), Shares{});
  EXPECT_EQ(shares_after({of({{"a", 2}}), of({{"b", 1}})}), Shares{}) << "taken out, it keeps its flows";
  EXPECT_EQ(shares_after({of({{"a", 2}}), of({{"b", 1}}), of({{"a", 0}, {"b", 1}})}), (Shares{{"web", "a"}}));
  EXPECT_EQ(shares_after({of({{"a", 2}}), of({{"a", 0}}, "other")}), Shares{});
}

}  // namespace
}  // namespace tlsplice::master
