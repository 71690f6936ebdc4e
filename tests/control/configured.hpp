// A configuration with two listeners and two groups, of which one is used, for the tests of what is changed
// on top of it.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "tlsplice/policy/config.hpp"

namespace tlsplice::control {

inline constexpr std::string_view kConfigured = R"(
[[target_group]]
name = "app"
protocol = "TCP"
targets = ["192.0.2.1:8080", "192.0.2.2:8080"]
[[target_group]]
name = "secure"
protocol = "TLS"
targets = ["[2001:db8::1]:8443"]
deregistration_delay = { timeout = "60s" }
[[listener]]
name = "web"
protocol = "TLS"
address = "0.0.0.0:443"
certificate = { chain = "web.pem", key = "web.key" }
default_action = { forward = "app" }
[[listener]]
name = "plain"
protocol = "TCP"
address = "0.0.0.0:80"
default_action = { forward = "app" }
)";

inline policy::Config configured(std::string_view text = kConfigured,
                                 const std::string& file = "/etc/tlsplice/t.toml") {
  auto config = policy::parse_config(text, file);
  EXPECT_TRUE(config.has_value()) << to_string("t.toml", config.error().at(0));
  return config ? *std::move(config) : policy::Config{};
}

/// The default action of one group, or of several by their weights.
inline std::vector<policy::Forward> to(std::string group) {
  return {{.target_group = std::move(group)}};
}

inline policy::HostPort target(std::string host, std::uint16_t port = 8080) {
  return {std::move(host), port};
}

}  // namespace tlsplice::control
