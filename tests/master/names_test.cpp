// Promised: what the resolver process says is taken only for names that somebody wants; each name's addresses
// stand where the name stood, each target once, no more than a group may have, and no target that was written
// as an address gives way to them. What nobody wants any more is forgotten.
#include "../../src/master/names.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tlsplice/resolver/report.hpp"

namespace tlsplice::master {
namespace {

using Heard = Names::Heard;
using Targets = std::vector<policy::HostPort>;

policy::Config config_of(Targets targets) {
  policy::Config config;
  config.target_groups.push_back({.name = "app", .targets = std::move(targets)});
  config.target_groups.push_back({.name = "other", .targets = {{"192.0.2.9", 9}}});
  return config;
}

class NamesTest : public testing::Test {
 protected:
  NamesTest() { names_.wanted(); }
  Targets of(Targets targets) const {
    return names_.with_addresses(config_of(std::move(targets))).config.target_groups.at(0).targets;
  }

  Names names_;
  Names::Claim claim_ = names_.claim({"app.internal", "db.internal"});
};

TEST_F(NamesTest, AreThoseOfTargets) {
  EXPECT_EQ(Names::of(config_of({{"192.0.2.1", 80}, {"2001:db8::1", 80}})), Names::Set{});
  EXPECT_EQ(Names::of(config_of({{"b", 80}, {"192.0.2.1", 80}, {"a.internal", 80}, {"b", 81}})),
            (Names::Set{"a.internal", "b"}));
}

TEST_F(NamesTest, TakesOnlyWhatSomebodyAskedFor) {
  names_.wanted();
  for (const char* report :
       {"", " ", "nobody.internal 192.0.2.1", "app.interna 192.0.2.1", "app.internal. 192.0.2.1",
        "APP.internal 192.0.2.1", "app.internal 0.0.0.0", "app.internal x", "app.internal ",
        "app.internal 192.0.2.2 192.0.2.1", "app.internal 192.0.2.1\n"}) {
    EXPECT_EQ(names_.hear(report), Heard::kNonsense) << report;
  }
  EXPECT_FALSE(names_.all_asked({"app.internal"}));
  EXPECT_EQ(names_.known(), Names::Addresses{});
  EXPECT_EQ(names_.hear("app.internal"), Heard::kNews) << "it was looked up for the first time";
  EXPECT_TRUE(names_.all_asked({"app.internal"}));
  EXPECT_FALSE(names_.all_asked({"app.internal", "db.internal"}));
  EXPECT_EQ(names_.hear("app.internal"), Heard::kNothingNew);
  EXPECT_EQ(names_.hear("app.internal 192.0.2.1 2001:db8::1"), Heard::kNews);
  EXPECT_EQ(names_.hear("app.internal 192.0.2.1 2001:db8::1"), Heard::kNothingNew);
  EXPECT_EQ(names_.addresses("app.internal"), (std::vector<std::string>{"192.0.2.1", "2001:db8::1"}));
}

TEST_F(NamesTest, StandInTheOrderOfTheConfiguration) {
  names_.wanted();
  names_.hear("app.internal 192.0.2.1 192.0.2.2");
  names_.hear("db.internal 192.0.2.2 2001:db8::1");
  EXPECT_EQ(of({{"db.internal", 80}, {"192.0.2.7", 80}, {"app.internal", 80}, {"app.internal", 81}}),
            (Targets{{"192.0.2.2", 80},
                     {"2001:db8::1", 80},
                     {"192.0.2.7", 80},
                     {"192.0.2.1", 80},
                     {"192.0.2.1", 81},
                     {"192.0.2.2", 81}}));
  EXPECT_EQ(of({{"192.0.2.1", 80}, {"app.internal", 80}}), (Targets{{"192.0.2.1", 80}, {"192.0.2.2", 80}}));
  EXPECT_EQ(of({{"unknown", 80}}), Targets{});
  const auto same = [&](const Targets& one, const Targets& other) {
    return same_targets(names_.with_addresses(config_of(one)).config,
                        names_.with_addresses(config_of(other)).config);
  };
  EXPECT_TRUE(same({{"app.internal", 80}}, {{"192.0.2.1", 80}, {"192.0.2.2", 80}}));
  EXPECT_FALSE(same({{"app.internal", 80}}, {{"192.0.2.1", 80}}));
}

TEST_F(NamesTest, LeaveAddressesTheirPlace) {
  Names names;
  Names::Set many;
  Targets targets;
  for (int i = 0; i < 20; ++i) {
    many.insert(fmt::format("n{}", i));
    targets.push_back({fmt::format("n{}", i), 80});
  }
  const Names::Claim claim = names.claim(many);
  names.wanted();
  for (int i = 0; i < 20; ++i) {
    resolver::Report report{fmt::format("n{}", i), {}};
    for (std::size_t n = 0; n < resolver::kAddressesOfANameMax; ++n)
      report.addresses.push_back(fmt::format("10.0.{}.{}", i, 100 + n));
    ASSERT_EQ(names.hear(resolver::to_text(report)), Heard::kNews);
  }
  for (int i = 0; i < 100; ++i) targets.push_back({fmt::format("192.0.2.{}", i), 80});
  const auto replaced = names.with_addresses(config_of(targets));
  const Targets& made = replaced.config.target_groups.at(0).targets;
  EXPECT_EQ(made.size(), policy::kTargetsOfAGroupMax);
  EXPECT_EQ(made.back(), (policy::HostPort{"192.0.2.99", 80}));
  EXPECT_EQ(replaced.over_limit, std::vector<std::string>{"app"});
  targets.erase(targets.begin(), targets.begin() + 10);
  EXPECT_EQ(names.with_addresses(config_of(targets)).over_limit, std::vector<std::string>{});
}

TEST_F(NamesTest, AreForgottenWithTheLastWhoWantsThem) {
  names_.remember({{"app.internal", {"192.0.2.1"}}, {"nobody.internal", {"192.0.2.2"}}});
  Names::Claim other = names_.claim({"app.internal"});
  claim_.reset();
  EXPECT_EQ(names_.wanted(), Names::Set{"app.internal"});
  EXPECT_EQ(names_.known(), (Names::Addresses{{"app.internal", {"192.0.2.1"}}}));
  EXPECT_TRUE(names_.all_asked({"app.internal"}));
  other.reset();
  EXPECT_EQ(names_.wanted(), Names::Set{});
  EXPECT_EQ(names_.hear("app.internal 192.0.2.1"), Heard::kNonsense);
}

}  // namespace
}  // namespace tlsplice::master
