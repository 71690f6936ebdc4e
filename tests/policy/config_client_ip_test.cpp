// Promised: a target group's `preserve_client_ip` has the load balancer's key and its default for targets by
// IP address, and anything else is a mistake that names what would be right.
#include <gtest/gtest.h>

#include "minimal.hpp"
#include "tlsplice/policy/config.hpp"

namespace tlsplice::policy {
namespace {

/// The line becomes the last one of the target group: line 6 of the file.
std::expected<Config, std::vector<Mistake>> with(const std::string& line) {
  std::string text(kRest);
  text.insert(text.find("[[listener]]"), line + "\n");
  return parse_config(text, "t.toml");
}

bool read(const std::string& line) {
  const auto config = with(line);
  EXPECT_TRUE(config.has_value()) << line << ": " << to_string("t.toml", config.error().at(0));
  return config && config->target_groups.at(0).preserve_client_ip;
}

std::string mistakes(const std::string& line) {
  std::string out;
  const auto config = with(line);
  if (config) return "none";
  for (const Mistake& mistake : config.error()) out += to_string("t.toml", mistake) + "\n";
  return out;
}

TEST(ConfigClientIp, IsOffByDefault) {
  EXPECT_FALSE(read(""));
  EXPECT_FALSE(read("preserve_client_ip = { enabled = false }"));
}

TEST(ConfigClientIp, HasTheLoadBalancersKey) {
  EXPECT_TRUE(read("preserve_client_ip = { enabled = true }"));
  EXPECT_TRUE(read("preserve_client_ip.enabled = true"));
}

TEST(ConfigClientIp, TellsMistakes) {
  EXPECT_EQ(mistakes("preserve_client_ip = true"),
            "t.toml:6:22: target_group.preserve_client_ip: expected { enabled = true }, not true or false\n");
  EXPECT_EQ(mistakes("preserve_client_ip = {}"),
            "t.toml:6:22: target_group.preserve_client_ip.enabled: missing, expected true or false\n");
  EXPECT_EQ(mistakes("preserve_client_ip = { enabled = \"true\" }"),
            "t.toml:6:34: target_group.preserve_client_ip.enabled: expected true or false, without quotes, "
            "not text\n");
  EXPECT_EQ(mistakes("preserve_client_ip = { enabled = true, port = true }"),
            "t.toml:6:40: target_group.preserve_client_ip.port: unknown key, known here are enabled\n");
  EXPECT_EQ(mistakes("preserve_client_up = { enabled = true }"),
            "t.toml:6:1: target_group.preserve_client_up: unknown key, did you mean preserve_client_ip?\n");
}

}  // namespace
}  // namespace tlsplice::policy
