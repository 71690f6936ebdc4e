// Promised: `health_check` and `target_group_health` of a target group have the load balancer's keys and
// defaults, anything else is a mistake that names what would be right; a group may be empty, and has no more
// targets than the shared rows have bits.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "minimal.hpp"
#include "tlsplice/policy/config.hpp"

namespace tlsplice::policy {
namespace {

using std::chrono::milliseconds;

/// The line becomes the last one of the target group: line 6 of the file.
std::expected<Config, std::vector<Mistake>> with(const std::string& line) {
  std::string text(kRest);
  text.insert(text.find("[[listener]]"), line + "\n");
  return parse_config(text, "t.toml");
}

TargetGroup read(const std::string& line) {
  const auto config = with(line);
  EXPECT_TRUE(config.has_value()) << line << ": " << to_string("t.toml", config.error().at(0));
  return config ? config->target_groups.at(0) : TargetGroup{};
}
HealthCheck check(const std::string& keys) {
  return read("health_check = { " + keys + " }").health_check;
}

std::string mistakes(const std::string& line) {
  std::string out;
  const auto config = with(line);
  if (config) return "none";
  for (const Mistake& mistake : config.error()) out += to_string("t.toml", mistake) + "\n";
  return out;
}
/// What is wrong with these keys, without the place.
std::string wrong(const std::string& keys) {
  const std::string all = mistakes("health_check = { " + keys + " }");
  const std::string path = "target_group.health_check.";
  return all.contains(path) ? all.substr(all.find(path) + path.size()) : all;
}

TEST(ConfigHealth, TcpChecksAreTheDefault) {
  const HealthCheck health = read("").health_check;
  EXPECT_EQ(health, HealthCheck{});
  EXPECT_TRUE(health.enabled);
  EXPECT_EQ(health.protocol, CheckProtocol::kTcp);
  EXPECT_EQ(health.port, std::nullopt);
  EXPECT_EQ(health.interval, std::chrono::seconds(30));
  EXPECT_EQ(health.timeout, std::chrono::seconds(10));
  EXPECT_EQ(health.healthy_threshold, 3u);
  EXPECT_EQ(health.unhealthy_threshold, 3u);
  EXPECT_EQ(check(R"(port = "traffic-port")"), HealthCheck{});
  EXPECT_FALSE(check("enabled = false").enabled);
}

TEST(ConfigHealth, HttpChecksHaveTheirDefaults) {
  const HealthCheck http = check(R"(protocol = "HTTP")");
  EXPECT_EQ(http.protocol, CheckProtocol::kHttp);
  EXPECT_EQ(http.timeout, std::chrono::seconds(6));
  EXPECT_EQ(http.path, "/");
  EXPECT_EQ(http.matcher, (std::vector<CodeRange>{{200, 399}}));
  EXPECT_EQ(check(R"(protocol = "HTTPS")").timeout, std::chrono::seconds(10));
}

TEST(ConfigHealth, EveryKeyIsRead) {
  const HealthCheck health =
      check(R"(protocol = "HTTPS", port = 8443, path = "/healthz?full=1", matcher = "200,204,300-302", )"
            R"(interval = "1s", timeout = "900ms", healthy_threshold = 2, unhealthy_threshold = 10)");
  EXPECT_EQ(health, (HealthCheck{.protocol = CheckProtocol::kHttps,
                                 .port = 8443,
                                 .path = "/healthz?full=1",
                                 .matcher = {{200, 200}, {204, 204}, {300, 302}},
                                 .interval = milliseconds(1000),
                                 .timeout = milliseconds(900),
                                 .healthy_threshold = 2,
                                 .unhealthy_threshold = 10}));
  EXPECT_EQ(to_string(health.matcher), "200,204,300-302");
}

TEST(ConfigHealth, TheDefaultTimeoutGivesWayToTheInterval) {
  EXPECT_EQ(check(R"(interval = "5s")").timeout, std::chrono::seconds(5));
  EXPECT_EQ(wrong(R"(interval = "5s", timeout = "6s")"),
            "timeout: \"6s\" is longer than the interval, expected at most \"5s\"\n");
  EXPECT_EQ(check(R"(interval = "5s", timeout = "5s")").timeout, std::chrono::seconds(5));
}

TEST(ConfigHealth, TellsMistakes) {
  EXPECT_EQ(wrong(R"(port = "http")"),
            "port: \"http\" is no port, expected \"traffic-port\" or a number without quotes, 1 to 65535\n");
  EXPECT_EQ(wrong("port = 0"), "port: 0 is out of range, expected 1 to 65535\n");
  EXPECT_EQ(wrong(R"(protocol = "TLS")"),
            "protocol: \"TLS\" is unknown, expected \"TCP\", \"HTTP\" or \"HTTPS\"\n");
  EXPECT_EQ(wrong(R"(path = "/healthz")"),
            "path: only for HTTP and HTTPS checks; remove it or set protocol = \"HTTP\"\n");
  EXPECT_EQ(wrong(R"(matcher = "200")"),
            "matcher: only for HTTP and HTTPS checks; remove it or set protocol = \"HTTP\"\n");
  EXPECT_EQ(wrong(R"(interval = "301s")"),
            "interval: \"301s\" is out of range, expected \"100ms\" to \"300s\"\n");
  EXPECT_EQ(wrong(R"(timeout = "9ms")"), "timeout: \"9ms\" is out of range, expected \"10ms\" to \"120s\"\n");
  EXPECT_EQ(wrong("healthy_threshold = 11"), "healthy_threshold: 11 is out of range, expected 1 to 10\n");
  EXPECT_EQ(wrong("unhealthy_threshold = 0"), "unhealthy_threshold: 0 is out of range, expected 1 to 10\n");
  EXPECT_EQ(wrong(R"(intervall = "1s")"), "intervall: unknown key, did you mean interval?\n");
  EXPECT_EQ(
      mistakes("health_check = false"),
      "t.toml:6:16: target_group.health_check: expected { protocol = \"HTTP\", path = \"/healthz\" }, not "
      "true or false\n");
}

/// The path is sent as it stands: nothing in it may end the line.
TEST(ConfigHealth, APathIsOneWord) {
  for (const char* path : {"", "healthz", "/a b", "/a\\r\\nX: y", "/caf\\u00e9", "/\\u0000"}) {
    const std::string told = wrong(fmt::format(R"(protocol = "HTTP", path = "{}")", path));
    EXPECT_TRUE(told.starts_with("path: ") && told.contains("is no path, expected one such as \"/healthz\""))
        << path << ": " << told;
  }
  EXPECT_TRUE(wrong(R"(protocol = "HTTP", path = "/)" + std::string(1024, 'a') + '"').contains("is no path"));
  EXPECT_EQ(wrong(R"(protocol = "HTTP", path = "/)" + std::string(1023, 'a') + '"'), "none");
}

TEST(ConfigHealth, AMatcherIsCodesAndRanges) {
  for (const char* codes :
       {"", "200,", ",200", "199", "600", "300-200", "200-", "-200", "2xx", "200 ", "200;201"}) {
    EXPECT_TRUE(
        wrong(fmt::format(R"(protocol = "HTTP", matcher = "{}")", codes)).contains("is no list of status"))
        << codes;
  }
  EXPECT_EQ(check(R"(protocol = "HTTP", matcher = "599")").matcher, (std::vector<CodeRange>{{599, 599}}));
}

TEST(ConfigHealth, TheRoutingThresholdHasTheLoadBalancersKeys) {
  EXPECT_EQ(read("").minimum_healthy_targets, (MinimumHealthyTargets{.count = 1, .percentage = 0}));
  const std::string minimum = "target_group_health.unhealthy_state_routing.minimum_healthy_targets.";
  EXPECT_EQ(read(minimum + "count = 3\n" + minimum + "percentage = 50").minimum_healthy_targets,
            (MinimumHealthyTargets{.count = 3, .percentage = 50}));
  EXPECT_EQ(read(minimum + R"(percentage = "off")").minimum_healthy_targets, MinimumHealthyTargets{});
  EXPECT_TRUE(mistakes(minimum + "count = 0").contains("count: 0 is out of range, expected 1 to 1024"));
  EXPECT_TRUE(mistakes(minimum + "percentage = 101").contains("101 is out of range, expected 1 to 100"));
  EXPECT_TRUE(
      mistakes(minimum + R"(percentage = "50")")
          .contains("\"50\" is no percentage, expected \"off\" or a number without quotes, 1 to 100"));
  EXPECT_TRUE(mistakes("target_group_health.dns_failover = {}").contains("dns_failover: unknown key"));
}

std::string with_targets(std::size_t count) {
  std::string list;
  for (std::size_t i = 0; i < count; ++i) list += fmt::format(R"("10.0.{}.{}:80",)", i / 250, i % 250 + 1);
  std::string text(kRest);
  const std::string before = R"(["127.0.0.1:8080"])";
  text.replace(text.find(before), before.size(), "[" + list + "]");
  const auto config = parse_config(text, "t.toml");
  return config ? fmt::format("{} targets", config->target_groups[0].targets.size())
                : to_string("t.toml", config.error()[0]);
}

TEST(ConfigHealth, AGroupHasNoneTo1024Targets) {
  EXPECT_EQ(with_targets(0), "0 targets");
  EXPECT_EQ(with_targets(1024), "1024 targets");
  EXPECT_EQ(
      with_targets(1025),
      "t.toml:5:11: target_group.targets: 1025 are too many, expected at most 1024: make two groups and "
      "forward to both, with weights");
}

}  // namespace
}  // namespace tlsplice::policy
