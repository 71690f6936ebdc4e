// Promised: a target group's deregistration_delay, target_health_state and stickiness have the load
// balancer's defaults and limits, and stickiness is refused wherever the load balancer refuses it.
#include <gtest/gtest.h>

#include "minimal.hpp"
#include "tlsplice/policy/config.hpp"

namespace tlsplice::policy {
namespace {

using std::chrono::seconds;

constexpr std::string_view kTlsListener = R"([[listener]]
name = "web"
protocol = "TLS"
address = "0.0.0.0:443"
default_action = { forward = "app" }
certificate = { chain = "web.pem", key = "web.key" }
)";

/// The line becomes the last one of the target group: line 6 of the file.
std::expected<Config, std::vector<Mistake>> with(const std::string& line, std::string_view rest = "") {
  std::string text(kRest);
  text.insert(text.find("[[listener]]"), line + "\n");
  return parse_config(text + std::string(rest), "t.toml");
}

TargetGroup read(const std::string& line) {
  const auto config = with(line);
  EXPECT_TRUE(config.has_value()) << line << ": " << to_string("t.toml", config.error().at(0));
  return config ? config->target_groups.at(0) : TargetGroup{};
}

std::string mistakes(const std::string& line, std::string_view rest = "") {
  std::string out;
  const auto config = with(line, rest);
  if (config) return "none";
  for (const Mistake& mistake : config.error()) out += to_string("t.toml", mistake) + "\n";
  return out;
}

TEST(ConfigAttributes, Defaults) {
  const TargetGroup group = read("");
  EXPECT_EQ(group.deregistration_delay.timeout, seconds(300));
  EXPECT_FALSE(group.deregistration_delay.connection_termination);
  EXPECT_TRUE(group.unhealthy.connection_termination);
  EXPECT_EQ(group.unhealthy.draining_interval, seconds(0));
  EXPECT_FALSE(group.stickiness);
}

TEST(ConfigAttributes, AreNestedAsTheLoadBalancersKeys) {
  EXPECT_EQ(
      read("deregistration_delay = { timeout = \"0s\", connection_termination = true }").deregistration_delay,
      (DeregistrationDelay{.timeout = seconds(0), .connection_termination = true}));
  EXPECT_EQ(read("deregistration_delay.timeout = \"1h\"").deregistration_delay.timeout, seconds(3600));
  EXPECT_EQ(read("target_health_state.unhealthy = { connection_termination = false, "
                 "draining_interval = \"100h\" }")
                .unhealthy,
            (UnhealthyState{.connection_termination = false, .draining_interval = seconds(360'000)}));
  EXPECT_TRUE(read("stickiness = { enabled = true, type = \"source_ip\" }").stickiness);
  EXPECT_TRUE(read("stickiness = { enabled = true }").stickiness);
  EXPECT_FALSE(read("stickiness = { enabled = false }").stickiness);
}

TEST(ConfigAttributes, TellsMistakes) {
  EXPECT_EQ(mistakes("deregistration_delay = { timeout = \"3601s\", terminate = true }"),
            "t.toml:6:36: target_group.deregistration_delay.timeout: \"3601s\" is out of range, expected "
            "\"0s\" to \"3600s\"\n"
            "t.toml:6:45: target_group.deregistration_delay.terminate: unknown key, known here are timeout, "
            "connection_termination\n");
  EXPECT_EQ(mistakes("deregistration_delay = { timeout = \"1500ms\" }"),
            "t.toml:6:36: target_group.deregistration_delay.timeout: 1500ms are no whole seconds, expected "
            "such as \"2s\"\n");
  EXPECT_EQ(mistakes("target_health_state = { unhealthy = { draining_interval = \"10s\" } }"),
            "t.toml:6:59: target_group.target_health_state.unhealthy.draining_interval: only with "
            "connection_termination = false: a flow that is ended does not drain; remove one of the two\n");
  EXPECT_EQ(mistakes("stickiness = { type = \"lb_cookie\" }"),
            "t.toml:6:14: target_group.stickiness.enabled: missing, expected true or false\n"
            "t.toml:6:23: target_group.stickiness.type: \"lb_cookie\" is unknown, expected \"source_ip\"\n");
}

TEST(ConfigAttributes, StickinessIsForTcpAlone) {
  EXPECT_EQ(mistakes("stickiness = { enabled = true }", kTlsListener),
            "t.toml:12:1: listener.default_action.forward: \"app\" has stickiness, which is for TCP "
            "listeners only, as the load balancer has it; expected a target group without, or protocol = "
            "\"TCP\"\n");
  EXPECT_EQ(mistakes("stickiness = { enabled = false }", kTlsListener), "none");
  EXPECT_EQ(mistakes("[[target_group]]\nname = \"tls\"\nprotocol = \"TLS\"\n"
                     "targets = [\"127.0.0.1:8443\"]\nstickiness = { enabled = true }"),
            "t.toml:10:14: target_group.stickiness: only for TCP target groups, as the load balancer has "
            "it; remove it\n");
}

}  // namespace
}  // namespace tlsplice::policy
