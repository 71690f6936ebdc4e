// Changes on top of a configuration. What a listener or a group may be is decided here as it is for the
// file: the same tables of policies and attributes, the same limits, the same cross_check.
#include "tlsplice/control/changes.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "attributes.hpp"
#include "edit.hpp"
#include "tlsplice/policy/forward.hpp"
#include "tlsplice/policy/ssl_policies.hpp"
#include "tlsplice/policy/words.hpp"

namespace tlsplice::control {
namespace {

/// "app", "blue (90), green (10)"
std::string text_of(const std::vector<policy::Forward>& forward) {
  if (forward.size() == 1) return forward.front().target_group;
  std::string text;
  for (const auto& [group, weight] : forward)
    text += fmt::format("{}{} ({})", text.empty() ? "" : ", ", group, weight);
  return text;
}

using policy::HostPort;
using policy::in_quotes;
using policy::Listener;
using policy::Protocol;
using policy::TargetGroup;

constexpr const char* kInvalid = "InvalidConfigurationRequest";

void apply_to_listener(policy::Config& config, const std::string& name, const ListenerChange& change,
                       Objections& objections);
void apply_to_group(policy::Config& config, const std::string& name, const TargetGroupChange& change,
                    Objections& objections);
void check_forward(const policy::Config& config, const std::vector<policy::Forward>& forward,
                   const std::string& path, Objections& objections);
void prune_listener(ListenerChange& change, const Listener& listener);
void prune_group(TargetGroupChange& change, const TargetGroup& group);
const Listener* listener_of(const policy::Config& config, std::string_view name);

}  // namespace

std::string to_string(const Objection& objection) {
  return objection.key.empty() ? objection.what : objection.key + ": " + objection.what;
}

std::expected<policy::Config, Objections> apply(policy::Config file, const Changes& changes) {
  Objections objections;
  // Groups first: a listener's change may be about them.
  for (const auto& [name, change] : changes.target_groups) apply_to_group(file, name, change, objections);
  for (const auto& [name, change] : changes.listeners) apply_to_listener(file, name, change, objections);
  for (policy::Mistake& mistake : policy::cross_check(file))
    objections.push_back({kInvalid, std::move(mistake.key), std::move(mistake.what)});
  if (!objections.empty()) return std::unexpected(std::move(objections));
  return file;
}

std::vector<std::string> prune(Changes& changes, const policy::Config& file) {
  std::vector<std::string> dropped;
  const auto drop = [&](auto& change, const char* kind, const std::string& name) {
    change = {};
    dropped.push_back(fmt::format("{} {} is no longer in the file", kind, policy::key_text(name)));
  };
  for (auto& [name, change] : changes.listeners) {
    if (const Listener* const listener = listener_of(file, name)) {
      prune_listener(change, *listener);
    } else {
      drop(change, "listener", name);
    }
  }
  for (auto& [name, change] : changes.target_groups) {
    if (const TargetGroup* const group = file.target_group(name)) {
      prune_group(change, *group);
    } else {
      drop(change, "target group", name);
    }
  }
  const auto is_empty = [](const auto& entry) { return entry.second == decltype(entry.second){}; };
  std::erase_if(changes.listeners, is_empty);
  std::erase_if(changes.target_groups, is_empty);
  return dropped;
}

std::vector<std::string> tell(const Changes& changes, const policy::Config& file) {
  std::vector<std::string> lines;
  for (const auto& [name, change] : changes.listeners) {
    const Listener* const listener = listener_of(file, name);
    if (listener == nullptr) continue;
    const auto line = [&lines, listener](std::string_view key, std::string_view now,
                                         std::string_view before) {
      lines.push_back(fmt::format("listener {}: {} is {}, not {}", listener->name, key, in_quotes(now),
                                  in_quotes(before)));
    };
    if (change.ssl_policy) line("ssl_policy", *change.ssl_policy, listener->ssl_policy);
    if (change.alpn_policy)
      line("alpn_policy", *change.alpn_policy, policy::to_string(listener->alpn_policy));
    if (change.certificate) {
      line("certificate.chain", change.certificate->chain, listener->certificate.chain.string());
      line("certificate.key", change.certificate->key, listener->certificate.key.string());
    }
    if (change.forward) line("default_action.forward", text_of(*change.forward), text_of(listener->forward));
  }
  for (const auto& [name, change] : changes.target_groups) {
    const TargetGroup* const group = file.target_group(name);
    if (group == nullptr) continue;
    for (const HostPort& target : change.registered)
      lines.push_back(fmt::format("target group {}: {} is registered", name, to_string(target)));
    for (const HostPort& target : change.deregistered)
      lines.push_back(fmt::format("target group {}: {} is deregistered", name, to_string(target)));
    for (const auto& [key, value] : change.attributes) {
      const Attribute* const attribute = find_attribute(key);
      lines.push_back(fmt::format("target group {}: {} is {}, not {}", name, key, in_quotes(value),
                                  in_quotes(attribute == nullptr ? "" : attribute->get(*group))));
    }
  }
  return lines;
}

namespace {

void apply_to_listener(policy::Config& config, const std::string& name, const ListenerChange& change,
                       Objections& objections) {
  const std::string path = "listeners." + policy::key_text(name);
  const Listener* const found = find_listener(config, name, path, objections);
  if (found == nullptr) return;
  Listener* const listener = &config.listeners[static_cast<std::size_t>(found - config.listeners.data())];
  const auto object = [&](const char* code, const char* key, std::string what) {
    objections.push_back({code, path + "." + key, std::move(what)});
  };
  const bool tls = listener->protocol == Protocol::kTls;
  const std::string tls_only = fmt::format("only for TLS listeners, and {} is a TCP listener", name);
  if (change.ssl_policy) {
    const std::string_view near = policy::nearest_ssl_policy(*change.ssl_policy);
    if (!tls) {
      object(kInvalid, "ssl_policy", tls_only);
    } else if (policy::find_ssl_policy(*change.ssl_policy) == nullptr) {
      object("SSLPolicyNotFound", "ssl_policy",
             fmt::format("{} is no security policy, {}", in_quotes(*change.ssl_policy),
                         near.empty() ? "expected one that \"tlsplice describe-ssl-policies\" prints"
                                      : fmt::format("did you mean {}?", in_quotes(near))));
    }
    listener->ssl_policy = *change.ssl_policy;
    listener->ssl_policy_place = {};
  }
  if (change.alpn_policy) {
    const auto policy = policy::find_alpn_policy(*change.alpn_policy);
    if (!tls) {
      object(kInvalid, "alpn_policy", tls_only);
    } else if (!policy) {
      object("ALPNPolicyNotFound", "alpn_policy", policy::no_alpn_policy(*change.alpn_policy));
    }
    listener->alpn_policy = policy.value_or(listener->alpn_policy);
  }
  if (change.certificate) {
    if (!tls) object(kInvalid, "certificate", tls_only);
    listener->certificate = {.chain = change.certificate->chain, .key = change.certificate->key, .place = {}};
    for (const auto& [key, file] : {std::pair("certificate.chain", &listener->certificate.chain),
                                    std::pair("certificate.key", &listener->certificate.key)}) {
      if (!file->is_absolute())
        object(kInvalid, key, fmt::format("{} is no absolute path", in_quotes(file->string())));
    }
  }
  if (change.forward) {
    check_forward(config, *change.forward, path + ".default_action.forward", objections);
    listener->forward = *change.forward;
  }
}

void check_forward(const policy::Config& config, const std::vector<policy::Forward>& forward,
                   const std::string& path, Objections& objections) {
  for (const policy::Forward& share : forward)
    find_target_group(config, share.target_group, path, objections);
  const auto protocol_of = [&](std::string_view name) {
    const TargetGroup* const group = config.target_group(name);
    return group == nullptr ? std::nullopt : std::optional(group->protocol);
  };
  for (policy::ForwardMistake& mistake : policy::check_forward(forward, protocol_of))
    objections.push_back({kInvalid, path, std::move(mistake.what)});
}

void apply_to_group(policy::Config& config, const std::string& name, const TargetGroupChange& change,
                    Objections& objections) {
  const std::string path = "target_groups." + policy::key_text(name);
  const TargetGroup* const found = find_target_group(config, name, path, objections);
  if (found == nullptr) return;
  TargetGroup* const group =
      &config.target_groups[static_cast<std::size_t>(found - config.target_groups.data())];
  for (const HostPort& target : change.registered) {
    if (!contains(group->targets, target)) group->targets.push_back(target);
  }
  std::erase_if(group->targets,
                [&](const HostPort& target) { return contains(change.deregistered, target); });
  if (group->targets.size() > policy::kTargetsOfAGroupMax) {
    objections.push_back({"TooManyTargets", path + ".registered",
                          fmt::format("these would be {} targets, and a target group has at most {}",
                                      group->targets.size(), policy::kTargetsOfAGroupMax)});
  }
  for (const auto& [key, value] : change.attributes) {
    const std::string at = path + ".attributes." + policy::key_text(key);
    const Attribute* const attribute = find_attribute(key);
    if (attribute == nullptr) {
      std::vector<std::string_view> keys;
      for (const Attribute& known : attributes()) keys.emplace_back(known.key);
      const std::string_view near = policy::nearest(key, keys);
      objections.push_back({kInvalid, at,
                            near.empty()
                                ? "no such attribute, \"tlsplice describe-target-group-attributes\" "
                                  "prints all"
                                : fmt::format("no such attribute, did you mean {}?", in_quotes(near))});
    } else if (auto wrong = attribute->set(*group, value)) {
      objections.push_back({kInvalid, at, *std::move(wrong)});
    }
  }
  if (group->unhealthy.connection_termination && group->unhealthy.draining_interval.count() != 0) {
    objections.push_back({kInvalid, path + ".attributes",
                          "target_health_state.unhealthy.draining_interval_seconds can be other than 0 only "
                          "when target_health_state.unhealthy.connection_termination.enabled is false"});
  }
  if (group->stickiness && group->protocol == Protocol::kTls) {
    objections.push_back({kInvalid, path + ".attributes",
                          "stickiness is for TCP target groups only, as the load balancer has it"});
  }
}

void prune_listener(ListenerChange& change, const Listener& listener) {
  if (change.ssl_policy == listener.ssl_policy) change.ssl_policy.reset();
  if (change.alpn_policy == policy::to_string(listener.alpn_policy)) change.alpn_policy.reset();
  const auto same = [](const std::string& path, const std::filesystem::path& configured) {
    std::error_code ignored;
    return path == std::filesystem::absolute(configured, ignored);
  };
  if (change.certificate && same(change.certificate->chain, listener.certificate.chain) &&
      same(change.certificate->key, listener.certificate.key))
    change.certificate.reset();
  if (change.forward == listener.forward) change.forward.reset();
}

void prune_group(TargetGroupChange& change, const TargetGroup& group) {
  const auto in_file = [&](const HostPort& target) { return contains(group.targets, target); };
  std::erase_if(change.registered, in_file);
  std::erase_if(change.deregistered, [&](const HostPort& target) { return !in_file(target); });
  std::erase_if(change.attributes, [&](const auto& entry) {
    const Attribute* const attribute = find_attribute(entry.first);
    TargetGroup changed = group;
    return attribute != nullptr && !attribute->set(changed, entry.second) &&
           attribute->get(changed) == attribute->get(group);
  });
}

const Listener* listener_of(const policy::Config& config, std::string_view name) {
  const auto found = std::ranges::find(config.listeners, name, &Listener::name);
  return found == config.listeners.end() ? nullptr : &*found;
}

}  // namespace
}  // namespace tlsplice::control
