#include "edit.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "tlsplice/policy/forward.hpp"
#include "tlsplice/policy/words.hpp"

namespace tlsplice::control {
namespace {

using policy::HostPort;
using policy::in_quotes;

/// Takes it out of one list, or else puts it into the other.
void move_target(const HostPort& target, std::vector<HostPort>& from, std::vector<HostPort>& to) {
  const bool was_there = std::erase(from, target) > 0;
  if (!was_there && !contains(to, target)) to.push_back(target);
}

/// The one of that name, or null and the nearest name in the objection.
template <typename Thing>
const Thing* find_named(const std::vector<Thing>& things, std::string_view kind, const char* code,
                        std::string_view name, std::string_view key, Objections& objections) {
  const auto found = std::ranges::find(things, name, &Thing::name);
  if (found != things.end()) return &*found;
  std::vector<std::string_view> names;
  for (const Thing& thing : things) names.push_back(thing.name);
  const std::string_view near = policy::nearest(name, names);
  std::string what = fmt::format("no {} is named {}", kind, in_quotes(name));
  if (!near.empty()) what += fmt::format(", did you mean {}?", in_quotes(near));
  objections.push_back({code, std::string(key), std::move(what)});
  return nullptr;
}

}  // namespace

void modify_listener(Changes& changes, const std::string& listener, const ListenerChange& wish) {
  ListenerChange& change = changes.listeners[listener];
  if (wish.ssl_policy) change.ssl_policy = wish.ssl_policy;
  if (wish.alpn_policy) change.alpn_policy = wish.alpn_policy;
  if (wish.certificate) change.certificate = wish.certificate;
  if (wish.forward) change.forward = wish.forward;
}

void register_targets(Changes& changes, const std::string& group, const std::vector<HostPort>& targets) {
  TargetGroupChange& change = changes.target_groups[group];
  for (const HostPort& target : targets) move_target(target, change.deregistered, change.registered);
}

void deregister_targets(Changes& changes, const std::string& group, const std::vector<HostPort>& targets) {
  TargetGroupChange& change = changes.target_groups[group];
  for (const HostPort& target : targets) move_target(target, change.registered, change.deregistered);
}

void modify_attributes(Changes& changes, const std::string& group,
                       const std::map<std::string, std::string>& attributes) {
  for (const auto& [key, value] : attributes) changes.target_groups[group].attributes[key] = value;
}

bool contains(const std::vector<HostPort>& targets, const HostPort& target) {
  return std::ranges::find(targets, target) != targets.end();
}

std::optional<ListenerChange::Certificate> read_certificate(JsonReader& reader) {
  auto pair = reader.object("certificate");
  if (!pair) return std::nullopt;
  auto chain = pair->required_text("chain", "the path of a PEM file");
  auto key = pair->required_text("key", "the path of a PEM file");
  pair->finish();
  if (!chain || !key) return std::nullopt;
  return ListenerChange::Certificate{*std::move(chain), *std::move(key)};
}

std::optional<std::vector<policy::Forward>> read_forward(JsonReader& reader) {
  constexpr std::string_view kKey = "forward";
  if (!reader.has_list(kKey)) {
    auto name = reader.text(kKey);
    if (!name) return std::nullopt;
    return std::vector<policy::Forward>{{.target_group = *std::move(name)}};
  }
  std::vector<policy::Forward> forward;
  for (JsonReader& share : reader.objects(kKey)) {
    auto group = share.required_text("target_group", "the name of a target group");
    const auto weight = share.required_integer("weight", 0, policy::kWeightMax);
    share.finish();
    if (group && weight)
      forward.push_back({.target_group = *std::move(group), .weight = static_cast<std::uint32_t>(*weight)});
  }
  return forward;
}

const policy::Listener* find_listener(const policy::Config& config, std::string_view name,
                                      std::string_view key, Objections& objections) {
  return find_named(config.listeners, "listener", "ListenerNotFound", name, key, objections);
}

const policy::TargetGroup* find_target_group(const policy::Config& config, std::string_view name,
                                             std::string_view key, Objections& objections) {
  return find_named(config.target_groups, "target group", "TargetGroupNotFound", name, key, objections);
}

}  // namespace tlsplice::control
