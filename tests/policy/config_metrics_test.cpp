// Promised: the metrics are on a loopback address unless the file says where, or "off"; what is no address is
// a mistake that names both, and so is a listener at the same address.
#include <gtest/gtest.h>

#include "minimal.hpp"
#include "tlsplice/policy/config.hpp"

namespace tlsplice::policy {
namespace {

std::expected<Config, std::vector<Mistake>> with(const std::string& value) {
  const std::string section = value.empty() ? "" : "[metrics]\naddress = \"" + value + "\"\n";
  return parse_config(section + std::string(kRest), "t.toml");
}

std::string mistake(const std::string& value) {
  const auto config = with(value);
  return config ? "none" : to_string("t.toml", config.error().at(0));
}

TEST(ConfigMetrics, AreOnLoopbackUnlessToldOtherwise) {
  const auto config = with("");
  ASSERT_TRUE(config.has_value());
  EXPECT_TRUE(config->metrics.is_default);
  EXPECT_EQ(to_string(config->metrics.address.value()), "127.0.0.1:9464");
}

TEST(ConfigMetrics, AreWhereTheFileSays) {
  const auto config = with("[::]:9100");
  ASSERT_TRUE(config.has_value());
  EXPECT_FALSE(config->metrics.is_default);
  EXPECT_EQ(to_string(config->metrics.address.value()), "[::]:9100");
}

TEST(ConfigMetrics, CanBeTurnedOff) {
  const auto config = with("off");
  ASSERT_TRUE(config.has_value());
  EXPECT_EQ(config->metrics.address, std::nullopt);
}

TEST(ConfigMetrics, AMistakeNamesWhatWouldBeRight) {
  EXPECT_EQ(
      mistake("9464"),
      "t.toml:2:11: metrics.address: \"9464\" is not an IP address and names are not resolved, expected "
      "an IP address and a port such as \"192.0.2.1:443\", or \"off\"");
  EXPECT_EQ(mistake("127.0.0.1"),
            "t.toml:2:11: metrics.address: \"127.0.0.1\" has no port, expected an IP address and a port such "
            "as \"192.0.2.1:443\", or \"off\"");
  const auto unknown = parse_config("[metrics]\nadress = \"off\"\n" + std::string(kRest), "t.toml");
  ASSERT_FALSE(unknown.has_value());
  EXPECT_EQ(to_string("t.toml", unknown.error().at(0)),
            "t.toml:2:1: metrics.adress: unknown key, did you mean address?");
}

TEST(ConfigMetrics, AreNotWhereAListenerIs) {
  EXPECT_EQ(
      mistake("127.0.0.1:80"),
      "t.toml:11:11: listener.address: \"127.0.0.1:80\" is taken by line 2, expected another address or "
      "port");
}

}  // namespace
}  // namespace tlsplice::policy
