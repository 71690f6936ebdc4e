// A configuration in the load balancer's words: the documents that its command line prints, with its members
// in its order. What people see of the same thing in the file and here has the same name in an ARN, which
// for us is "listener/<load balancer>/<name>" and "targetgroup/<name>". A member "Changed" says what is not
// as the file has it; without changes there is none.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tlsplice/control/control.hpp"
#include "tlsplice/control/load.hpp"

namespace tlsplice::control {

using nlohmann::ordered_json;

/// {"Listeners": [...]}, of these listeners, in the order of the file.
ordered_json describe_listeners(const Loaded& state, const std::vector<const policy::Listener*>& listeners);
ordered_json describe_target_groups(const Loaded& state,
                                    const std::vector<const policy::TargetGroup*>& groups);
ordered_json describe_attributes(const Loaded& state, const policy::TargetGroup& group);

/// Of these targets, registered or not; of none: of all that are, or drain. A host name is described as its
/// addresses, each with the member "Name" in "Target", or by itself where it has none.
ordered_json describe_target_health(const Loaded& state, const policy::TargetGroup& group,
                                    const std::vector<policy::HostPort>& targets, const Service& service);

}  // namespace tlsplice::control
