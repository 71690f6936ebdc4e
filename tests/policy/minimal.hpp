// The smallest configuration that is right, to put a line under test in front of: that line is then line 1
// of the file.
#pragma once

#include <string_view>

namespace tlsplice::policy {

inline constexpr std::string_view kRest = R"(
[[target_group]]
name = "app"
protocol = "TCP"
targets = ["127.0.0.1:8080"]
[[listener]]
name = "plain"
protocol = "TCP"
address = "127.0.0.1:80"
default_action = { forward = "app" }
)";

}  // namespace tlsplice::policy
