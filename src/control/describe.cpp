#include "describe.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "attributes.hpp"
#include "edit.hpp"
#include "tlsplice/policy/host_port.hpp"

namespace tlsplice::control {
namespace {

using policy::HostPort;
using policy::Listener;
using policy::TargetGroup;

std::string arn_of(const TargetGroup& group) {
  return "targetgroup/" + group.name;
}

bool is_used(const policy::Config& config, const TargetGroup& group) {
  return std::ranges::any_of(config.listeners, [&](const Listener& listener) {
    return std::ranges::find(listener.forward, group.name, &policy::Forward::target_group) !=
           listener.forward.end();
  });
}

// A list of one is written as such: in braces alone it would be taken for what is in it.
ordered_json list_of(ordered_json one) {
  ordered_json list = ordered_json::array();
  list.push_back(std::move(one));
  return list;
}

/// With one target group both forms, as the load balancer answers; with several the second alone.
ordered_json action_of(const Listener& listener) {
  ordered_json groups = ordered_json::array();
  for (const auto& [group, weight] : listener.forward)
    groups.push_back({{"TargetGroupArn", "targetgroup/" + group}, {"Weight", weight}});
  ordered_json out = {{"Type", "forward"}};
  if (groups.size() == 1) out["TargetGroupArn"] = groups.front()["TargetGroupArn"];
  out["ForwardConfig"] = {{"TargetGroups", std::move(groups)}};
  return out;
}

std::string health_check_port(const TargetGroup& group, std::string_view otherwise) {
  return group.health_check.port ? fmt::to_string(*group.health_check.port) : std::string(otherwise);
}

const ListenerChange* change_of(const Changes& changes, const Listener& listener) {
  const auto found = changes.listeners.find(listener.name);
  return found == changes.listeners.end() ? nullptr : &found->second;
}

const TargetGroupChange* change_of(const Changes& changes, const TargetGroup& group) {
  const auto found = changes.target_groups.find(group.name);
  return found == changes.target_groups.end() ? nullptr : &found->second;
}

ordered_json describe(const Loaded& state, const Listener& listener) {
  const std::string id = load_balancer_of(state.config);
  ordered_json out = {{"ListenerArn", fmt::format("listener/{}/{}", id, listener.name)},
                      {"LoadBalancerArn", "loadbalancer/" + id},
                      {"Port", listener.address.port},
                      {"Protocol", policy::to_string(listener.protocol)}};
  if (listener.protocol == policy::Protocol::kTls) {
    out["Certificates"] = list_of({{"CertificateArn", listener.certificate.chain.string()}});
    out["SslPolicy"] = listener.ssl_policy;
  }
  out["DefaultActions"] = list_of(action_of(listener));
  if (listener.protocol == policy::Protocol::kTls)
    out["AlpnPolicy"] = list_of(policy::to_string(listener.alpn_policy));
  out["ListenerName"] = listener.name;
  out["Address"] = to_string(listener.address);
  if (const ListenerChange* const change = change_of(state.changes, listener)) {
    ordered_json& changed = out["Changed"] = ordered_json::array();
    if (change->certificate) changed.push_back("Certificates");
    if (change->ssl_policy) changed.push_back("SslPolicy");
    if (change->forward) changed.push_back("DefaultActions");
    if (change->alpn_policy) changed.push_back("AlpnPolicy");
  }
  return out;
}

ordered_json describe(const Loaded& state, const TargetGroup& group) {
  ordered_json out = {{"TargetGroupArn", arn_of(group)},
                      {"TargetGroupName", group.name},
                      {"Protocol", policy::to_string(group.protocol)}};
  std::set<std::uint16_t> ports;
  std::set<bool> v6;
  for (const HostPort& target : group.targets) {
    ports.insert(target.port);
    if (!policy::is_host_name(target)) v6.insert(target.host.contains(':'));
  }
  // The load balancer has one port and one kind of address a group; ours have those of their targets.
  if (ports.size() == 1) out["Port"] = *ports.begin();
  const policy::HealthCheck& check = group.health_check;
  const auto seconds = [](policy::Milliseconds time) {
    return std::chrono::ceil<std::chrono::seconds>(time).count();
  };
  out["HealthCheckProtocol"] = policy::to_string(check.protocol);
  out["HealthCheckPort"] = health_check_port(group, "traffic-port");
  out["HealthCheckEnabled"] = check.enabled;
  out["HealthCheckIntervalSeconds"] = seconds(check.interval);
  out["HealthCheckTimeoutSeconds"] = seconds(check.timeout);
  out["HealthyThresholdCount"] = check.healthy_threshold;
  out["UnhealthyThresholdCount"] = check.unhealthy_threshold;
  if (check.protocol != policy::CheckProtocol::kTcp) {
    out["HealthCheckPath"] = check.path;
    out["Matcher"] = {{"HttpCode", policy::to_string(check.matcher)}};
  }
  out["LoadBalancerArns"] = ordered_json::array();
  if (is_used(state.config, group))
    out["LoadBalancerArns"].push_back("loadbalancer/" + load_balancer_of(state.config));
  out["TargetType"] = "ip";
  if (v6.size() == 1) out["IpAddressType"] = *v6.begin() ? "ipv6" : "ipv4";
  if (const TargetGroupChange* const change = change_of(state.changes, group)) {
    ordered_json& changed = out["Changed"] = ordered_json::array();
    if (!change->registered.empty() || !change->deregistered.empty()) changed.push_back("Targets");
    if (!change->attributes.empty()) changed.push_back("Attributes");
  }
  return out;
}

/// A target as it is shown: a host name's addresses, or the name where it has none.
struct Shown {
  HostPort target;
  HostPort written;  // what it is in the configuration
};

std::vector<Shown> shown(const std::vector<HostPort>& targets, const Service& service) {
  std::vector<Shown> all;
  const auto add = [&](const HostPort& target, const HostPort& written) {
    if (std::ranges::find(all, target, &Shown::target) == all.end()) all.push_back({target, written});
  };
  for (const HostPort& target : targets) {
    const bool named = policy::is_host_name(target) && service.addresses;
    const auto addresses = named ? service.addresses(target.host) : std::vector<std::string>();
    for (const std::string& address : addresses) add({address, target.port}, target);
    if (addresses.empty()) add(target, target);
  }
  return all;
}

TargetHealth health_of(const Loaded& state, const TargetGroup& group, const HostPort& target, bool registered,
                       const std::vector<HostPort>& draining, const decltype(Service::health)& health) {
  if (contains(draining, target)) {
    return {.state = "draining",
            .reason = "Target.DeregistrationInProgress",
            .description = "Target deregistration is in progress"};
  }
  if (!registered) {
    return {.state = "unused",
            .reason = "Target.NotRegistered",
            .description = "Target is not registered to the target group"};
  }
  if (!is_used(state.config, group)) {
    return {.state = "unused",
            .reason = "Target.NotInUse",
            .description = "Target group is not configured to receive traffic from the load balancer"};
  }
  if (policy::is_host_name(target)) {
    return {.state = "unavailable",
            .reason = "Elb.InternalError",
            .description = "No address is known of this host name; it is asked for again"};
  }
  return health(group, target);
}

}  // namespace

ordered_json describe_listeners(const Loaded& state, const std::vector<const Listener*>& listeners) {
  ordered_json all = ordered_json::array();
  for (const Listener* const listener : listeners) all.push_back(describe(state, *listener));
  return {{"Listeners", std::move(all)}};
}

ordered_json describe_target_groups(const Loaded& state, const std::vector<const TargetGroup*>& groups) {
  ordered_json all = ordered_json::array();
  for (const TargetGroup* const group : groups) all.push_back(describe(state, *group));
  return {{"TargetGroups", std::move(all)}};
}

ordered_json describe_attributes(const Loaded& state, const TargetGroup& group) {
  const TargetGroupChange* const change = change_of(state.changes, group);
  ordered_json all = ordered_json::array();
  for (const Attribute& attribute : attributes()) {
    ordered_json& out =
        all.emplace_back(ordered_json{{"Key", attribute.key}, {"Value", attribute.get(group)}});
    if (change != nullptr && change->attributes.contains(attribute.key)) out["Changed"] = true;
  }
  return {{"Attributes", std::move(all)}};
}

ordered_json describe_target_health(const Loaded& state, const TargetGroup& group,
                                    const std::vector<HostPort>& targets, const Service& service) {
  const TargetGroupChange* const change = change_of(state.changes, group);
  const auto draining = service.draining ? service.draining(group) : std::vector<HostPort>();
  const auto registered = shown(group.targets, service);
  auto asked = shown(targets, service);
  if (targets.empty()) {
    asked = registered;
    for (const HostPort& target : draining) asked.push_back({target, target});
  }
  ordered_json all = ordered_json::array();
  for (const auto& [target, named] : asked) {
    const auto known = std::ranges::find(registered, target, &Shown::target);
    const HostPort& written = known != registered.end() ? known->written : named;
    const TargetHealth found =
        health_of(state, group, target, known != registered.end(), draining, service.health);
    ordered_json out = {{"Target", {{"Id", target.host}, {"Port", target.port}}},
                        {"HealthCheckPort", health_check_port(group, fmt::to_string(target.port))},
                        {"TargetHealth", {{"State", found.state}}}};
    if (written != target) out["Target"]["Name"] = written.host;
    if (!found.reason.empty()) out["TargetHealth"]["Reason"] = found.reason;
    if (!found.description.empty()) out["TargetHealth"]["Description"] = found.description;
    const bool changed = change != nullptr &&
                         (contains(change->registered, written) || contains(change->deregistered, written));
    if (changed) out["Changed"] = true;
    all.push_back(std::move(out));
  }
  return {{"TargetHealthDescriptions", std::move(all)}};
}

}  // namespace tlsplice::control
