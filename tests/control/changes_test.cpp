// Promised: changes of run time turn the file's configuration into the one that is meant, or are refused as a
// whole with every reason; what makes no difference to the file does not stay among them.
#include "tlsplice/control/changes.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "configured.hpp"

namespace tlsplice::control {
namespace {

using policy::HostPort;

std::string objections(const Changes& changes) {
  const auto config = apply(configured(), changes);
  if (config) return "none";
  std::string out;
  for (const Objection& objection : config.error()) out += objection.code + " " + to_string(objection) + "\n";
  return out;
}

Changes listener(const std::string& name, ListenerChange change) {
  return {.listeners = {{name, std::move(change)}}, .target_groups = {}};
}

Changes group(const std::string& name, TargetGroupChange change) {
  return {.listeners = {}, .target_groups = {{name, std::move(change)}}};
}

Changes attribute(const std::string& key, const std::string& value, const std::string& name = "app") {
  return group(name, {.registered = {}, .deregistered = {}, .attributes = {{key, value}}});
}

TEST(Changes, ApplyToListeners) {
  const auto config = apply(configured(), listener("web", {.ssl_policy = "ELBSecurityPolicy-TLS-1-2-2017-01",
                                                           .alpn_policy = "HTTP2Optional",
                                                           .certificate = {{"/new.pem", "/new.key"}},
                                                           .forward = to("secure")}));
  ASSERT_TRUE(config);
  const policy::Listener& web = config->listeners.at(0);
  EXPECT_EQ(web.ssl_policy, "ELBSecurityPolicy-TLS-1-2-2017-01");
  EXPECT_EQ(web.alpn_policy, policy::AlpnPolicy::kHttp2Optional);
  EXPECT_EQ(web.certificate.chain, "/new.pem");
  EXPECT_EQ(web.certificate.key, "/new.key");
  EXPECT_EQ(web.forward.front().target_group, "secure");
  EXPECT_EQ(config->listeners.at(1).forward.front().target_group, "app");
}

TEST(Changes, ApplyToTargets) {
  const auto config =
      apply(configured(), group("app", {.registered = {target("192.0.2.3"), target("192.0.2.1")},
                                        .deregistered = {target("192.0.2.2"), target("192.0.2.9")},
                                        .attributes = {}}));
  ASSERT_TRUE(config);
  EXPECT_EQ(config->target_groups.at(0).targets,
            (std::vector<HostPort>{target("192.0.2.1"), target("192.0.2.3")}));
}

TEST(Changes, ApplyToAttributes) {
  const auto config =
      apply(configured(),
            group("app", {.registered = {},
                          .deregistered = {},
                          .attributes = {
                              {"deregistration_delay.timeout_seconds", "30"},
                              {"deregistration_delay.connection_termination.enabled", "true"},
                              {"proxy_protocol_v2.enabled", "true"},
                              {"proxy_protocol_v2.client_to_server.header_placement", "on_first_ack"},
                              {"stickiness.type", "source_ip"},
                              {"target_health_state.unhealthy.connection_termination.enabled", "false"},
                              {"target_health_state.unhealthy.draining_interval_seconds", "360000"},
                          }}));
  ASSERT_TRUE(config) << to_string(config.error().at(0));
  const policy::TargetGroup& app = config->target_groups.at(0);
  EXPECT_EQ(app.deregistration_delay.timeout, std::chrono::seconds(30));
  EXPECT_TRUE(app.deregistration_delay.connection_termination);
  EXPECT_EQ(app.proxy_protocol_v2,
            (policy::ProxyProtocol{.enabled = true, .placement = policy::HeaderPlacement::kOnFirstAck}));
  EXPECT_FALSE(app.unhealthy.connection_termination);
  EXPECT_EQ(app.unhealthy.draining_interval, std::chrono::hours(100));
}

TEST(Changes, AreRefusedAsAWhole) {
  EXPECT_EQ(
      objections({.listeners = {{"plain",
                                 {.ssl_policy = "x",
                                  .alpn_policy = "None",
                                  .certificate = {{"a", "/b"}},
                                  .forward = to("ap")}},
                                {"wbe", {.ssl_policy = "x", .certificate = {}, .forward = {}}}},
                  .target_groups = {{"nothing", {}}}}),
      "TargetGroupNotFound target_groups.nothing: no target group is named \"nothing\"\n"
      "InvalidConfigurationRequest listeners.plain.ssl_policy: only for TLS listeners, and plain is a TCP "
      "listener\n"
      "InvalidConfigurationRequest listeners.plain.alpn_policy: only for TLS listeners, and plain is a TCP "
      "listener\n"
      "InvalidConfigurationRequest listeners.plain.certificate: only for TLS listeners, and plain is a "
      "TCP listener\n"
      "InvalidConfigurationRequest listeners.plain.certificate.chain: \"a\" is no absolute path\n"
      "TargetGroupNotFound listeners.plain.default_action.forward: no target group is named \"ap\", did "
      "you mean \"app\"?\n"
      "ListenerNotFound listeners.wbe: no listener is named \"wbe\", did you mean \"web\"?\n");
}

TEST(Changes, OfAnUnknownPolicyAreRefused) {
  EXPECT_EQ(objections(listener(
                "web", {.ssl_policy = "ELBSecurityPolicy-2016-8", .certificate = {}, .forward = {}})),
            "SSLPolicyNotFound listeners.web.ssl_policy: \"ELBSecurityPolicy-2016-8\" is no security policy, "
            "did you mean \"ELBSecurityPolicy-2016-08\"?\n");
  EXPECT_EQ(objections(listener(
                "web", {.ssl_policy = {}, .alpn_policy = "HTTP2Prefered", .certificate = {}, .forward = {}})),
            "ALPNPolicyNotFound listeners.web.alpn_policy: \"HTTP2Prefered\" is no ALPN policy, did you mean "
            "\"HTTP2Preferred\"?\n");
}

TEST(Changes, MayLeaveNoTargetAndNotTooMany) {
  TargetGroupChange change;
  change.deregistered = {target("2001:db8::1", 8443)};
  EXPECT_EQ(objections(group("secure", change)), "none");
  for (std::uint16_t port = 1; port <= policy::kTargetsOfAGroupMax; ++port)
    change.registered.push_back(target("192.0.2.9", port));
  EXPECT_EQ(objections(group("secure", change)), "none");
  change.registered.push_back(target("192.0.2.10"));
  EXPECT_EQ(objections(group("secure", change)),
            "TooManyTargets target_groups.secure.registered: these would be 1025 targets, and a target group "
            "has at most 1024\n");
}

TEST(Changes, OfAttributesHaveTheLoadBalancersLimits) {
  const std::string at = "InvalidConfigurationRequest target_groups.app.attributes";
  EXPECT_EQ(objections(attribute("deregistration_delay.timeout_seconds", "3601")),
            at + ".\"deregistration_delay.timeout_seconds\": \"3601\" is out of range, expected a number of "
                 "seconds from 0 to 3600\n");
  EXPECT_EQ(objections(attribute("deregistration_delay.timeout_second", "30")),
            at + ".\"deregistration_delay.timeout_second\": no such attribute, did you mean "
                 "\"deregistration_delay.timeout_seconds\"?\n");
  EXPECT_EQ(objections(attribute("stickiness.enabled", "yes")),
            at + ".\"stickiness.enabled\": \"yes\" is unknown, expected \"true\" or \"false\"\n");
  EXPECT_EQ(
      objections(attribute("load_balancing.cross_zone.enabled", "true")),
      at + ".\"load_balancing.cross_zone.enabled\": can only be \"use_load_balancer_configuration\" here: "
           "one host has neither zones nor DNS records to take away\n");
  EXPECT_EQ(objections(attribute("target_health_state.unhealthy.draining_interval_seconds", "1")),
            at + ": target_health_state.unhealthy.draining_interval_seconds can be other than 0 only when "
                 "target_health_state.unhealthy.connection_termination.enabled is false\n");
  for (const char* const number : {"", "-1", "+1", "1 ", "0x1", "99999999999999999999"})
    EXPECT_NE(objections(attribute("deregistration_delay.timeout_seconds", number)), "none") << number;
}

TEST(Changes, OfStickinessAreForTcpAlone) {
  EXPECT_EQ(objections(attribute("stickiness.enabled", "true")),
            "InvalidConfigurationRequest listener.default_action.forward: \"app\" has stickiness, which is "
            "for TCP listeners only, as the load balancer has it; expected a target group without, or "
            "protocol = \"TCP\"\n");
  EXPECT_EQ(
      objections(attribute("stickiness.enabled", "true", "secure")),
      "InvalidConfigurationRequest target_groups.secure.attributes: stickiness is for TCP target groups "
      "only, as the load balancer has it\n");
}

TEST(Changes, ThatMakeNoDifferenceGo) {
  Changes changes = {.listeners = {{"web",
                                    {.ssl_policy = policy::kDefaultSslPolicy,
                                     .alpn_policy = "None",
                                     .certificate = {{"/etc/tlsplice/web.pem", "/etc/tlsplice/web.key"}},
                                     .forward = to("app")}}},
                     .target_groups = {{"app",
                                        {.registered = {target("192.0.2.1")},
                                         .deregistered = {target("192.0.2.9")},
                                         .attributes = {{"deregistration_delay.timeout_seconds", "0300"}}}}}};
  EXPECT_TRUE(prune(changes, configured()).empty());
  EXPECT_TRUE(changes.empty());
}

TEST(Changes, OfWhatIsNoLongerThereGoWithANotice) {
  Changes changes = listener("old", {.ssl_policy = "x", .certificate = {}, .forward = {}});
  changes.target_groups["older"] = {};
  changes.listeners["web"].forward = to("secure");
  EXPECT_EQ(prune(changes, configured()),
            (std::vector<std::string>{"listener old is no longer in the file",
                                      "target group older is no longer in the file"}));
  EXPECT_EQ(changes, listener("web", {.ssl_policy = {}, .certificate = {}, .forward = to("secure")}));
}

TEST(Changes, ApplyToWeights) {
  const std::vector<policy::Forward> wish = {{"app", 90}, {"spare", 0}};
  const std::string spare = "[[target_group]]\nname = \"spare\"\nprotocol = \"TCP\"\ntargets = []\n";
  const policy::Config file = configured(spare + std::string(kConfigured));
  Changes changes = listener("plain", {.ssl_policy = {}, .certificate = {}, .forward = wish});
  EXPECT_EQ(apply(file, changes)->listeners.at(1).forward, wish);
  EXPECT_EQ(tell(changes, file),
            (std::vector<std::string>{
                "listener plain: default_action.forward is \"app (90), spare (0)\", not \"app\""}));
  EXPECT_TRUE(prune(changes, file).empty());
  EXPECT_EQ(changes.listeners.at("plain").forward, wish) << "it is not what the file says";
  changes.listeners["plain"].forward = to("app");
  prune(changes, file);
  EXPECT_TRUE(changes.empty());
}

TEST(Changes, OfWeightsHaveTheFilesLimits) {
  const auto forward = [](std::vector<policy::Forward> shares) {
    return objections(listener("plain", {.ssl_policy = {}, .certificate = {}, .forward = std::move(shares)}));
  };
  const std::string at = " listeners.plain.default_action.forward: ";
  EXPECT_EQ(
      forward({{"app", 1}, {"secure", 2}, {"app", 3}, {"ap", 4}, {"x", 0}, {"y", 0}}),
      "TargetGroupNotFound" + at + "no target group is named \"ap\", did you mean \"app\"?\n" +
          "TargetGroupNotFound" + at + "no target group is named \"x\"\n" + "TargetGroupNotFound" + at +
          "no target group is named \"y\"\n" + "InvalidConfigurationRequest" + at +
          "\"secure\" is a TLS group and those before it are TCP ones, expected groups of one protocol\n" +
          "InvalidConfigurationRequest" + at + "\"app\" is in the list already, expected each group once\n" +
          "InvalidConfigurationRequest" + at + "6 target groups are too many, expected at most 5\n");
}

TEST(Changes, AreTold) {
  Changes changes = attribute("deregistration_delay.timeout_seconds", "5");
  changes.target_groups["app"].registered = {target("2001:db8::7")};
  changes.listeners["web"].ssl_policy = "ELBSecurityPolicy-2015-05";
  changes.listeners["web"].alpn_policy = "HTTP2Only";
  EXPECT_EQ(
      tell(changes, configured()),
      (std::vector<std::string>{
          "listener web: ssl_policy is \"ELBSecurityPolicy-2015-05\", not \"ELBSecurityPolicy-2016-08\"",
          "listener web: alpn_policy is \"HTTP2Only\", not \"None\"",
          "target group app: [2001:db8::7]:8080 is registered",
          "target group app: deregistration_delay.timeout_seconds is \"5\", not \"300\""}));
}

}  // namespace
}  // namespace tlsplice::control
