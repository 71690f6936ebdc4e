// Adding to the changes: what one command asks for on top of those before it. What makes no difference in
// the end is for prune() to take out.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "json_reader.hpp"
#include "tlsplice/control/changes.hpp"

namespace tlsplice::control {

void modify_listener(Changes& changes, const std::string& listener, const ListenerChange& wish);
void register_targets(Changes& changes, const std::string& group,
                      const std::vector<policy::HostPort>& targets);
void deregister_targets(Changes& changes, const std::string& group,
                        const std::vector<policy::HostPort>& targets);
void modify_attributes(Changes& changes, const std::string& group,
                       const std::map<std::string, std::string>& attributes);

bool contains(const std::vector<policy::HostPort>& targets, const policy::HostPort& target);

/// The member "certificate", if it is there and right.
std::optional<ListenerChange::Certificate> read_certificate(JsonReader& reader);

/// The member "forward" of an action: a target group, or several and their weights.
std::optional<std::vector<policy::Forward>> read_forward(JsonReader& reader);

/// The listener or target group of that name, or null; then what is wrong is noted under `key`.
const policy::Listener* find_listener(const policy::Config& config, std::string_view name,
                                      std::string_view key, Objections& objections);
const policy::TargetGroup* find_target_group(const policy::Config& config, std::string_view name,
                                             std::string_view key, Objections& objections);

}  // namespace tlsplice::control
