// The attributes of a target group by the load balancer's keys, each with what it is in our configuration.
// Those that have no meaning on a host of one's own can only be what they are.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "tlsplice/policy/config.hpp"

namespace tlsplice::control {

struct Attribute {
  const char* key;
  std::string (*get)(const policy::TargetGroup& group);
  /// Nothing when the value was taken, else what is wrong with it.
  std::optional<std::string> (*set)(policy::TargetGroup& group, std::string_view value);
};

/// All, in the order of the load balancer's page.
std::span<const Attribute> attributes();

/// Null when there is no such key.
const Attribute* find_attribute(std::string_view key);

}  // namespace tlsplice::control
