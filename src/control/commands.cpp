// Arguments are read as a whole and every mistake in them is told at once; names are looked up when the
// command's turn comes. A name may also be an ARN, as describe-* print it: what counts is behind its last
// slash.
#include "commands.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "edit.hpp"
#include "tlsplice/policy/host_port.hpp"

namespace tlsplice::control {
namespace {

using policy::Listener;
using policy::TargetGroup;

constexpr const char* kGroupExample = R"(the name of a target group such as "app")";

ordered_json list_listeners(const Loaded& now, const Service&, JsonReader& arguments, Objections& objections);
ordered_json list_target_groups(const Loaded& now, const Service&, JsonReader& arguments,
                                Objections& objections);
ordered_json tell_health(const Loaded& now, const Service& service, JsonReader& arguments,
                         Objections& objections);
ordered_json tell_attributes(const Loaded& now, const Service&, JsonReader& arguments,
                             Objections& objections);
ordered_json stop(const Loaded&, const Service& service, JsonReader& arguments, Objections& objections);
Planned plan_listener(JsonReader& arguments, Objections& objections);
Planned plan_registration(JsonReader& arguments, Objections& objections);
Planned plan_deregistration(JsonReader& arguments, Objections& objections);
Planned plan_attributes(JsonReader& arguments, Objections& objections);
Planned plan_reset(JsonReader& arguments, Objections& objections);
Planned plan_reload(JsonReader& arguments, Objections& objections);

constexpr Command kCommands[] = {
    {"describe-listeners", "DescribeListeners", list_listeners, nullptr},
    {"describe-target-groups", "DescribeTargetGroups", list_target_groups, nullptr},
    {"describe-target-health", "DescribeTargetHealth", tell_health, nullptr},
    {"describe-target-group-attributes", "DescribeTargetGroupAttributes", tell_attributes, nullptr},
    {"modify-listener", "ModifyListener", nullptr, plan_listener},
    {"register-targets", "RegisterTargets", nullptr, plan_registration},
    {"deregister-targets", "DeregisterTargets", nullptr, plan_deregistration},
    {"modify-target-group-attributes", "ModifyTargetGroupAttributes", nullptr, plan_attributes},
    {"reset-changes", "ResetChanges", nullptr, plan_reset},
    {"reload", "Reload", nullptr, plan_reload},
    {"stop", "Stop", stop, nullptr},
};

std::string name_in(const std::string& text) {
  return text.substr(text.rfind('/') + 1);
}

std::string required_name(JsonReader& arguments, std::string_view key, std::string_view example) {
  return name_in(arguments.required_text(key, example).value_or(""));
}

std::vector<policy::HostPort> read_targets(JsonReader& arguments, Objections& objections) {
  std::vector<policy::HostPort> targets;
  for (const std::string& text : arguments.texts("targets")) {
    auto target = policy::parse_target(text);
    if (target) {
      targets.push_back(*std::move(target));
    } else {
      objections.push_back({"InvalidTarget", "targets", std::move(target.error())});
    }
  }
  return targets;
}

/// What is in force with other changes, which are those of before after `edit`.
std::expected<Loaded, Objections> changed(const Loaded& now, const std::function<void(Changes&)>& edit) {
  Changes changes = now.changes;
  edit(changes);
  auto config = apply(now.file, changes);
  if (!config) return std::unexpected(std::move(config.error()));
  prune(changes, now.file);
  return Loaded{.file = now.file, .changes = std::move(changes), .config = *std::move(config), .dropped = {}};
}

ordered_json nothing(const Loaded&, const Loaded&) {
  return ordered_json::object();
}

// ---- answered at once

ordered_json list_listeners(const Loaded& now, const Service&, JsonReader& arguments,
                            Objections& objections) {
  const auto names = arguments.texts("listeners");
  arguments.finish();
  std::vector<const Listener*> listeners;
  for (const std::string& name : names)
    listeners.push_back(find_listener(now.config, name_in(name), "", objections));
  std::vector<const Listener*> in_order;
  for (const Listener& listener : now.config.listeners) {
    if (names.empty() || std::ranges::find(listeners, &listener) != listeners.end())
      in_order.push_back(&listener);
  }
  return describe_listeners(now, in_order);
}

ordered_json list_target_groups(const Loaded& now, const Service&, JsonReader& arguments,
                                Objections& objections) {
  const auto names = arguments.texts("names");
  arguments.finish();
  std::vector<const TargetGroup*> groups;
  for (const std::string& name : names)
    groups.push_back(find_target_group(now.config, name_in(name), "", objections));
  std::vector<const TargetGroup*> in_order;
  for (const TargetGroup& group : now.config.target_groups) {
    if (names.empty() || std::ranges::find(groups, &group) != groups.end()) in_order.push_back(&group);
  }
  return describe_target_groups(now, in_order);
}

ordered_json tell_health(const Loaded& now, const Service& service, JsonReader& arguments,
                         Objections& objections) {
  const std::string name = required_name(arguments, "target_group", kGroupExample);
  const auto targets = read_targets(arguments, objections);
  arguments.finish();
  if (!objections.empty()) return {};
  const TargetGroup* const group = find_target_group(now.config, name, "", objections);
  if (group == nullptr) return {};
  return describe_target_health(now, *group, targets, service);
}

ordered_json tell_attributes(const Loaded& now, const Service&, JsonReader& arguments,
                             Objections& objections) {
  const std::string name = required_name(arguments, "target_group", kGroupExample);
  arguments.finish();
  if (!objections.empty()) return {};
  const TargetGroup* const group = find_target_group(now.config, name, "", objections);
  return group == nullptr ? ordered_json() : describe_attributes(now, *group);
}

ordered_json stop(const Loaded&, const Service& service, JsonReader& arguments, Objections& objections) {
  arguments.finish();
  if (objections.empty()) service.stop();
  return ordered_json::object();
}

// ---- changes

Planned plan_listener(JsonReader& arguments, Objections& objections) {
  const std::string name = required_name(arguments, "listener", R"(the name of a listener such as "web")");
  ListenerChange wish;
  wish.ssl_policy = arguments.text("ssl_policy");
  wish.alpn_policy = arguments.text("alpn_policy");
  wish.certificate = read_certificate(arguments);
  wish.forward = read_forward(arguments);
  if (wish.forward) {
    for (policy::Forward& share : *wish.forward) share.target_group = name_in(share.target_group);
  }
  arguments.finish();
  if (objections.empty() && wish == ListenerChange{}) {
    objections.push_back(
        {"ValidationError", "",
         "nothing to change, expected ssl_policy, alpn_policy, certificate or default_action"});
  }
  return {.plan =
              [=](const Loaded& now) {
                return changed(now, [&](Changes& changes) { modify_listener(changes, name, wish); });
              },
          .answer =
              [=](const Loaded&, const Loaded& now) {
                Objections none;
                return describe_listeners(now, {find_listener(now.config, name, "", none)});
              },
          .even_if_same = true};  // a certificate of the same name may be another one by now
}

Planned plan_targets(JsonReader& arguments, Objections& objections, decltype(&register_targets) edit) {
  const std::string name = required_name(arguments, "target_group", kGroupExample);
  const auto targets = read_targets(arguments, objections);
  arguments.finish();
  if (objections.empty() && targets.empty())
    objections.push_back({"ValidationError", "targets", R"(expected at least one such as "192.0.2.1:8080")"});
  return {.plan =
              [=](const Loaded& now) {
                return changed(now, [&](Changes& changes) { edit(changes, name, targets); });
              },
          .answer = nothing};
}

Planned plan_registration(JsonReader& arguments, Objections& objections) {
  return plan_targets(arguments, objections, register_targets);
}

Planned plan_deregistration(JsonReader& arguments, Objections& objections) {
  return plan_targets(arguments, objections, deregister_targets);
}

Planned plan_attributes(JsonReader& arguments, Objections& objections) {
  const std::string name = required_name(arguments, "target_group", kGroupExample);
  const auto attributes = arguments.texts_by_name("attributes");
  arguments.finish();
  if (objections.empty() && attributes.empty())
    objections.push_back({"ValidationError", "attributes", "expected at least one"});
  return {
      .plan =
          [=](const Loaded& now) {
            return changed(now, [&](Changes& changes) { modify_attributes(changes, name, attributes); });
          },
      .answer = [=](const Loaded&,
                    const Loaded& now) { return describe_attributes(now, *now.config.target_group(name)); }};
}

Planned plan_reset(JsonReader& arguments, Objections&) {
  arguments.finish();
  return {.plan = [](const Loaded& now) -> std::expected<Loaded, Objections> {
            return Loaded{.file = now.file, .changes = {}, .config = now.file, .dropped = {}};
          },
          .answer = [](const Loaded& before,
                       const Loaded&) { return ordered_json{{"Undone", tell(before.changes, before.file)}}; },
          .even_if_same = true};  // what is on the disk may be something else, and be what has to go
}

Planned plan_reload(JsonReader& arguments, Objections&) {
  arguments.finish();
  return {.plan = [](const Loaded& now) -> std::expected<Loaded, Objections> {
            auto loaded = load(now.file.file);
            if (loaded) return *std::move(loaded);
            Objections objections;
            for (std::string& line : loaded.error())
              objections.push_back({"InvalidConfigurationRequest", "", std::move(line)});
            return std::unexpected(std::move(objections));
          },
          .answer =
              [](const Loaded&, const Loaded& now) {
                return ordered_json{{"Changes", tell(now.changes, now.file)}, {"Dropped", now.dropped}};
              },
          .even_if_same = true};
}

}  // namespace

const Command* find_command(std::string_view name) {
  const auto* const found = std::ranges::find(kCommands, name, &Command::name);
  return found == std::end(kCommands) ? nullptr : found;
}

}  // namespace tlsplice::control
