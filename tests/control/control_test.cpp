// Promised: commands answer in the load balancer's words; a change is in force only when the service has
// taken it over, and then it is on the disk; one that is refused leaves everything as it was; those that come
// meanwhile wait for their turn and begin from what is in force then.
#include "tlsplice/control/control.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "configured.hpp"

namespace tlsplice::control {
namespace {

using nlohmann::json;

class ControlTest : public testing::Test {
 protected:
  ControlTest() {
    char name[] = "/tmp/tlsplice-control-XXXXXX";
    folder_ = ::mkdtemp(name);
    config_ = folder_ / "t.toml";
    std::ofstream(config_) << kConfigured;
    start();
  }
  ~ControlTest() override { std::filesystem::remove_all(folder_); }

  void start() {
    auto loaded = load(config_);
    EXPECT_TRUE(loaded) << loaded.error().at(0);
    control_.emplace(*std::move(loaded),
                     Service{.take_over =
                                 [this](const policy::Config& config, Service::Done done) {
                                   handed_.push_back(config);
                                   done_ = std::move(done);
                                   if (at_once_) finish();
                                 },
                             .stop = [this] { stopped_ = true; },
                             .health =
                                 [](const policy::TargetGroup&, const policy::HostPort& target) {
                                   if (target.host == "192.0.2.1") return TargetHealth{"healthy", "", ""};
                                   return TargetHealth{.state = "initial",
                                                       .reason = "Elb.InitialHealthChecking",
                                                       .description = "Initial health checks in progress"};
                                 },
                             .addresses =
                                 [](std::string_view name) {
                                   if (name != "app.internal") return std::vector<std::string>();
                                   return std::vector<std::string>{"192.0.2.1", "192.0.2.7"};
                                 }},
                     base::Log(STDERR_FILENO, base::LogLevel::kError, base::LogFormat::kLogfmt));
  }

  /// What is answered, or "error: ..."; "nothing yet" until then.
  std::shared_ptr<std::string> ask(const std::string& command, const json& arguments = json::object()) {
    auto told = std::make_shared<std::string>("nothing yet");
    control_->answer(command, arguments.dump(), [told](const Control::Answer& answer) {
      EXPECT_EQ(*told, "nothing yet") << "answered twice";
      *told = answer ? *answer : "error: " + answer.error();
    });
    return told;
  }
  json answer(const std::string& command, const json& arguments = json::object()) {
    const auto told = ask(command, arguments);
    const json parsed = json::parse(*told, nullptr, false);
    EXPECT_TRUE(parsed.is_object()) << *told;
    return parsed;
  }

  void finish(std::vector<policy::Mistake> mistakes = {}) {
    ASSERT_TRUE(done_);
    std::exchange(done_, {})(std::move(mistakes));
  }

  Changes kept() const { return read_changes(changes_file(config_)).value(); }

  std::filesystem::path folder_, config_;
  std::optional<Control> control_;
  std::vector<policy::Config> handed_;
  Service::Done done_;
  bool at_once_ = true;
  bool stopped_ = false;
};

json modify(const std::string& listener, const std::string& policy) {
  return {{"listener", listener}, {"ssl_policy", policy}};
}

json targets(const std::string& group, const std::vector<std::string>& list) {
  return {{"target_group", group}, {"targets", list}};
}

TEST_F(ControlTest, ListenersInTheLoadBalancersWords) {
  const json all = answer("describe-listeners").at("Listeners");
  ASSERT_EQ(all.size(), 2u);
  const json& web = all[0];
  EXPECT_EQ(web.at("ListenerArn"),
            "listener/" + web.at("LoadBalancerArn").get<std::string>().substr(13) + "/web");
  EXPECT_EQ(web.at("Port"), 443);
  EXPECT_EQ(web.at("Protocol"), "TLS");
  EXPECT_EQ(web.at("Certificates"), json::array({{{"CertificateArn", (folder_ / "web.pem").string()}}}));
  EXPECT_EQ(web.at("SslPolicy"), "ELBSecurityPolicy-2016-08");
  EXPECT_EQ(web.at("AlpnPolicy"), json::array({"None"}));
  const json forward = {
      {"TargetGroups", json::array({{{"TargetGroupArn", "targetgroup/app"}, {"Weight", 1}}})}};
  EXPECT_EQ(web.at("DefaultActions"),
            json::array(
                {{{"Type", "forward"}, {"TargetGroupArn", "targetgroup/app"}, {"ForwardConfig", forward}}}));
  EXPECT_FALSE(web.contains("Changed"));
  EXPECT_FALSE(all[1].contains("SslPolicy") || all[1].contains("AlpnPolicy"));
  EXPECT_EQ(answer("describe-listeners", {{"listeners", {"plain"}}}).at("Listeners"), json::array({all[1]}));
  EXPECT_EQ(answer("describe-listeners", {{"listeners", {web.at("ListenerArn")}}}).at("Listeners"),
            json::array({web}));
}

TEST_F(ControlTest, TargetGroupsInTheLoadBalancersWords) {
  const json all = answer("describe-target-groups").at("TargetGroups");
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].at("TargetGroupName"), "app");
  EXPECT_EQ(all[0].at("Port"), 8080);
  EXPECT_EQ(all[0].at("IpAddressType"), "ipv4");
  EXPECT_EQ(all[0].at("LoadBalancerArns").size(), 1u);
  EXPECT_EQ(all[1].at("IpAddressType"), "ipv6");
  EXPECT_EQ(all[1].at("LoadBalancerArns"), json::array()) << "no listener forwards to it";
  EXPECT_EQ(answer("describe-target-groups", {{"names", {"targetgroup/secure"}}}).at("TargetGroups"),
            json::array({all[1]}));
}

TEST_F(ControlTest, TargetHealthInTheLoadBalancersWords) {
  const json all = answer("describe-target-health", {{"target_group", "app"}}).at("TargetHealthDescriptions");
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0], (json{{"Target", {{"Id", "192.0.2.1"}, {"Port", 8080}}},
                          {"HealthCheckPort", "8080"},
                          {"TargetHealth", {{"State", "healthy"}}}}));
  EXPECT_EQ(all[1].at("TargetHealth").at("Reason"), "Elb.InitialHealthChecking");
  const json other =
      answer("describe-target-health", targets("app", {"192.0.2.9:1"})).at("TargetHealthDescriptions");
  EXPECT_EQ(other.at(0).at("TargetHealth").at("State"), "unused");
  EXPECT_EQ(other.at(0).at("TargetHealth").at("Reason"), "Target.NotRegistered");
  const json unused =
      answer("describe-target-health", {{"target_group", "secure"}}).at("TargetHealthDescriptions");
  EXPECT_EQ(unused.at(0).at("TargetHealth").at("Reason"), "Target.NotInUse");
}

TEST_F(ControlTest, AHostNameIsDescribedByItsAddresses) {
  answer("register-targets", targets("app", {"App.Internal:8080", "app.internal:81", "none.internal:80"}));
  std::string told;
  for (const json& row :
       answer("describe-target-health", {{"target_group", "app"}}).at("TargetHealthDescriptions")) {
    told += fmt::format("{} {} {} {} {}\n", row.at("Target").at("Id").get<std::string>(),
                        row.at("Target").at("Port").get<int>(), row.at("Target").value("Name", "-"),
                        row.at("TargetHealth").at("State").get<std::string>(), row.value("Changed", false));
  }
  EXPECT_EQ(told,
            "192.0.2.1 8080 - healthy false\n"
            "192.0.2.2 8080 - initial false\n"
            "192.0.2.7 8080 app.internal initial true\n"
            "192.0.2.1 81 app.internal healthy true\n"
            "192.0.2.7 81 app.internal initial true\n"
            "none.internal 80 - unavailable true\n");
  EXPECT_EQ(handed_.back().target_groups.at(0).targets.back(), (policy::HostPort{"none.internal", 80}));
}

TEST_F(ControlTest, AChangeIsInForceWhenTheServiceHasTakenItOver) {
  at_once_ = false;
  const auto told = ask("modify-listener", modify("web", "ELBSecurityPolicy-2015-05"));
  EXPECT_EQ(*told, "nothing yet");
  ASSERT_EQ(handed_.size(), 1u);
  EXPECT_EQ(handed_[0].listeners.at(0).ssl_policy, "ELBSecurityPolicy-2015-05");
  EXPECT_EQ(control_->config().listeners.at(0).ssl_policy, "ELBSecurityPolicy-2016-08");
  EXPECT_TRUE(kept().empty());
  finish();
  const json listener = json::parse(*told).at("Listeners").at(0);
  EXPECT_EQ(listener.at("SslPolicy"), "ELBSecurityPolicy-2015-05");
  EXPECT_EQ(listener.at("Changed"), json::array({"SslPolicy"}));
  EXPECT_EQ(control_->config().listeners.at(0).ssl_policy, "ELBSecurityPolicy-2015-05");
  EXPECT_EQ(kept().listeners.at("web").ssl_policy, "ELBSecurityPolicy-2015-05");
}

TEST_F(ControlTest, WhatTheServiceRefusesLeavesAllAsItWas) {
  at_once_ = false;
  const auto told =
      ask("modify-listener", {{"listener", "web"}, {"certificate", {{"chain", "/a"}, {"key", "/b"}}}});
  finish({{{}, "listener.certificate.chain", "cannot open /a"}, {{4, 2}, "x", "y"}});
  EXPECT_EQ(*told,
            "error: An error occurred (InvalidConfigurationRequest) when calling the ModifyListener "
            "operation: listener.certificate.chain: cannot open /a\n  " +
                config_.string() + ":4:2: x: y");
  EXPECT_TRUE(kept().empty());
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);
  EXPECT_FALSE(answer("describe-listeners").at("Listeners").at(0).contains("Changed"));
}

TEST_F(ControlTest, ChangesHaveTurns) {
  at_once_ = false;
  const auto first = ask("register-targets", targets("app", {"192.0.2.3:8080"}));
  const auto second = ask("deregister-targets", targets("app", {"192.0.2.1:8080", "192.0.2.3:8080"}));
  const auto third = ask("modify-listener", {{"listener", "web"}, {"forward", "ap"}});
  EXPECT_EQ(handed_.size(), 1u);
  finish();
  EXPECT_EQ(*first, "{}");
  ASSERT_EQ(handed_.size(), 2u) << "the second begins from what the first has left";
  EXPECT_EQ(handed_[1].target_groups.at(0).targets, std::vector{target("192.0.2.2")});
  EXPECT_EQ(*second, "nothing yet");
  EXPECT_EQ(*third, "nothing yet");
  finish();
  EXPECT_EQ(*second, "{}");
  EXPECT_NE(third->find("no target group is named \"ap\", did you mean \"app\"?"), std::string::npos)
      << *third;
  EXPECT_EQ(handed_.size(), 2u);
}

TEST_F(ControlTest, TooManyThatWaitAreRefused) {
  at_once_ = false;
  ask("reload");
  for (std::size_t i = 0; i < Control::kWaitingMax; ++i) ask("reload");
  EXPECT_NE(ask("reload")->find("(Throttling)"), std::string::npos);
}

TEST_F(ControlTest, WhatIsSoAlreadyIsDoneAtOnce) {
  EXPECT_EQ(*ask("register-targets", targets("app", {"192.0.2.1:8080"})), "{}");
  EXPECT_EQ(*ask("deregister-targets", targets("app", {"192.0.2.77:8080"})), "{}");
  EXPECT_TRUE(handed_.empty());
  answer("modify-listener", {{"listener", "web"}, {"forward", "app"}});
  EXPECT_EQ(handed_.size(), 1u) << "its certificate may be another one by now";
}

TEST_F(ControlTest, AttributesAreChangedAndListed) {
  const json arguments = {{"target_group", "secure"},
                          {"attributes", {{"deregistration_delay.timeout_seconds", "5"}}}};
  const json told = answer("modify-target-group-attributes", arguments).at("Attributes");
  EXPECT_EQ(told.at(0),
            (json{{"Key", "deregistration_delay.timeout_seconds"}, {"Value", "5"}, {"Changed", true}}));
  EXPECT_EQ(told.at(1),
            (json{{"Key", "deregistration_delay.connection_termination.enabled"}, {"Value", "false"}}));
  EXPECT_EQ(told.size(), 14u);
  EXPECT_EQ(answer("describe-target-group-attributes", {{"target_group", "secure"}}).at("Attributes"), told);
  EXPECT_EQ(answer("describe-target-groups").at("TargetGroups").at(1).at("Changed"),
            json::array({"Attributes"}));
}

TEST_F(ControlTest, AllChangesAreUndoneAtOnce) {
  answer("modify-listener", modify("web", "ELBSecurityPolicy-2015-05"));
  answer("register-targets", targets("app", {"192.0.2.3:8080"}));
  EXPECT_EQ(answer("reset-changes").at("Undone").size(), 2u);
  EXPECT_EQ(control_->config().listeners.at(0).ssl_policy, "ELBSecurityPolicy-2016-08");
  EXPECT_FALSE(std::filesystem::exists(changes_file(config_)));
}

TEST_F(ControlTest, WhatSomebodyElseWroteIsUndoneToo) {
  std::ofstream(changes_file(config_)) << "{";
  EXPECT_NE(ask("reload")->find("tlsplice reset-changes"), std::string::npos);
  EXPECT_EQ(answer("reset-changes"), (json{{"Undone", json::array()}}));
  EXPECT_FALSE(std::filesystem::exists(changes_file(config_)));
}

TEST_F(ControlTest, AReloadReadsTheFileAndKeepsTheChanges) {
  answer("register-targets", targets("app", {"192.0.2.3:8080"}));
  std::string text(kConfigured);
  text.replace(text.find("0.0.0.0:80"), 10, "0.0.0.0:81");
  std::ofstream(config_) << text;
  EXPECT_EQ(answer("reload").at("Changes"), json::array({"target group app: 192.0.2.3:8080 is registered"}));
  EXPECT_EQ(control_->config().listeners.at(1).address.port, 81);
  EXPECT_EQ(control_->config().target_groups.at(0).targets.size(), 3u);

  std::ofstream(config_) << "workers = 0\n" << text;
  EXPECT_NE(ask("reload")->find("t.toml:1:11: workers: "), std::string::npos);
  EXPECT_EQ(control_->config().listeners.at(1).address.port, 81);
}

TEST_F(ControlTest, AChangeOfWhatTheFileNoLongerHasIsDropped) {
  answer("modify-target-group-attributes",
         {{"target_group", "secure"}, {"attributes", {{"deregistration_delay.timeout_seconds", "5"}}}});
  std::string text(kConfigured);
  const auto begin = text.find("[[target_group]]\nname = \"secure\"");
  text.erase(begin, text.find("[[listener]]") - begin);
  std::ofstream(config_) << text;
  EXPECT_EQ(answer("reload"), (json{{"Changes", json::array()},
                                    {"Dropped", {"target group secure is no longer in the file"}}}));
  EXPECT_FALSE(std::filesystem::exists(changes_file(config_)));
}

TEST_F(ControlTest, AChangeThatTheFileHasCaughtUpWithIsDropped) {
  Changes changes;
  changes.listeners["web"].ssl_policy = "ELBSecurityPolicy-2015-05";
  changes.listeners["web"].forward = to("app");  // as the file has it
  auto staged = StagedChanges::write(changes_file(config_), changes);
  ASSERT_TRUE(staged && staged->commit());
  start();
  changes.listeners["web"].forward.reset();
  EXPECT_EQ(kept(), changes) << "the file may change its mind";
}

TEST_F(ControlTest, WhereNothingIsToBeKeptNothingIsWritten) {
  answer("register-targets", targets("app", {"192.0.2.3:8080"}));
  std::filesystem::create_directory(changes_file(config_).string() + ".new");
  EXPECT_EQ(answer("reload").at("Changes").size(), 1u);
  answer("modify-listener", {{"listener", "web"}, {"forward", "app"}});
  EXPECT_EQ(handed_.size(), 3u);
}

TEST_F(ControlTest, AChangeThatCannotBeKeptIsRefused) {
  std::filesystem::create_directory(changes_file(config_).string() + ".new");
  const auto told = ask("register-targets", targets("app", {"192.0.2.3:8080"}));
  EXPECT_NE(told->find("a change must be kept to be there after a restart"), std::string::npos) << *told;
  EXPECT_TRUE(handed_.empty());
}

TEST_F(ControlTest, EveryMistakeOfACommandIsTold) {
  EXPECT_EQ(*ask("modify-listener", {{"listner", "web"}, {"ssl_policy", 7}}),
            "error: An error occurred (ValidationError) when calling the ModifyListener operation: listener: "
            "missing, expected the name of a listener such as \"web\"\n"
            "  ssl_policy: expected text in quotes\n"
            "  listner: unknown, did you mean listener?");
  EXPECT_NE(ask("modify-listener", {{"listener", "web"}})->find("nothing to change"), std::string::npos);
  EXPECT_NE(ask("register-targets", targets("app", {}))->find("expected at least one"), std::string::npos);
  EXPECT_EQ(
      *ask("register-targets", targets("app", {"x-:1", "192.0.2.1"})),
      "error: An error occurred (InvalidTarget) when calling the RegisterTargets operation: targets: "
      "\"x-\" is no host name: a hyphen stands at the beginning or the end of a part, expected an IP address "
      "or host name and a port such as \"192.0.2.1:443\" or \"app.internal:443\"\n"
      "  targets: \"192.0.2.1\" has no port, expected an IP address and a port such as "
      "\"192.0.2.1:443\"");
  EXPECT_EQ(*ask("describe-listeners", {{"listeners", {"wbe", "x"}}}),
            "error: An error occurred (ListenerNotFound) when calling the DescribeListeners operation: no "
            "listener is named \"wbe\", did you mean \"web\"?\n  no listener is named \"x\"");
  EXPECT_EQ(*ask("describe"), "error: unknown command \"describe\"");
  EXPECT_TRUE(handed_.empty());
}

TEST_F(ControlTest, StopsTheService) {
  EXPECT_NE(ask("stop", {{"now", "yes"}})->find("now: unknown"), std::string::npos);
  EXPECT_FALSE(stopped_);
  EXPECT_EQ(*ask("stop"), "{}");
  EXPECT_TRUE(stopped_);
}

}  // namespace
}  // namespace tlsplice::control
