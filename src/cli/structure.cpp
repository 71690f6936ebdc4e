#include "structure.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <optional>

#include "tlsplice/policy/words.hpp"

namespace tlsplice::cli {
namespace {

using nlohmann::json;
using Read = std::expected<json, std::string>;

constexpr int kNestingMax = 8;

std::unexpected<std::string> expected_action(std::string_view text) {
  return std::unexpected(
      fmt::format("{}: expected such as forward=app or Type=forward,ForwardConfig={{TargetGroups=["
                  "{{TargetGroupArn=blue,Weight=90}},{{TargetGroupArn=green,Weight=10}}]}}",
                  policy::in_quotes(text)));
}

/// name=value pairs; a value is text, a list in brackets or pairs in braces.
class Shorthand {
 public:
  explicit Shorthand(std::string_view text) : left_(text) {}

  Read whole() {
    auto object = pairs(0);
    if (object && !left_.empty()) return wrong("a comma and another name");
    return object;
  }

 private:
  Read pairs(int depth) {
    json object = json::object();
    do {
      skip_spaces();
      const std::size_t equals = std::min(left_.find_first_of("=,[]{}"), left_.size());
      const std::string name(left_.substr(0, equals));
      left_.remove_prefix(equals);
      if (name.empty() || !take('=')) return wrong("name=value");
      auto value = read(depth + 1);
      if (!value) return value;
      if (object.contains(name)) return std::unexpected(policy::in_quotes(name) + " is there twice");
      object[name] = *std::move(value);
    } while (take(','));
    return object;
  }

  Read list(int depth) {
    json all = json::array();
    skip_spaces();
    if (take(']')) return all;
    do {
      auto value = read(depth + 1);
      if (!value) return value;
      all.push_back(*std::move(value));
    } while (take(','));
    if (!take(']')) return wrong("a comma or ]");
    return all;
  }

  Read read(int depth) {
    if (depth > kNestingMax) return std::unexpected("nested too deeply");
    skip_spaces();
    if (take('[')) return list(depth);
    if (take('{')) {
      auto object = pairs(depth);
      if (object && !take('}')) return wrong("a comma or }");
      return object;
    }
    for (const char quote : {'"', '\''}) {
      if (!take(quote)) continue;
      const std::size_t end = left_.find(quote);
      if (end == std::string_view::npos) return wrong("another quote");
      return cut(end, 1);
    }
    return cut(std::min(left_.find_first_of(",]}"), left_.size()), 0);
  }

  /// So much is a value, and so much behind it is left out.
  json cut(std::size_t size, std::size_t behind) {
    json text = std::string(left_.substr(0, size));
    left_.remove_prefix(size + behind);
    return text;
  }
  void skip_spaces() { left_.remove_prefix(std::min(left_.find_first_not_of(' '), left_.size())); }
  bool take(char c) {
    if (!left_.starts_with(c)) return false;
    left_.remove_prefix(1);
    return true;
  }
  std::unexpected<std::string> wrong(std::string_view what) const {
    return std::unexpected(fmt::format(
        "expected {}{}", what, left_.empty() ? " at its end" : " before " + policy::in_quotes(left_)));
  }

  std::string_view left_;
};

/// Whether it is an object with no other members than these.
bool has_only(const json& value, std::initializer_list<std::string_view> names) {
  if (!value.is_object()) return false;
  return std::ranges::all_of(value.items(), [&](const auto& member) {
    return std::ranges::find(names, member.key()) != names.end();
  });
}

bool has_text(const json& object, const char* name) {
  return object.contains(name) && object[name].is_string();
}

/// A number, also one in shorthand; what is none is left for the service to object to.
json number_of(const json& value) {
  if (!value.is_string()) return value;
  const auto& text = value.get_ref<const std::string&>();
  std::int64_t number = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), number);
  return fault == std::errc{} && end == text.data() + text.size() ? json(number) : value;
}

/// {"TargetGroups": [...]}; an error is a reason of its own, or empty.
Read forward_of(const json& config) {
  if (!has_only(config, {"TargetGroups", "TargetGroupStickinessConfig"}) || !config.contains("TargetGroups"))
    return std::unexpected("");
  const json stickiness = config.value("TargetGroupStickinessConfig", json::object());
  if (!has_only(stickiness, {"Enabled", "DurationSeconds"})) return std::unexpected("");
  if (const json enabled = stickiness.value("Enabled", json(false)); enabled != false && enabled != "false") {
    return std::unexpected(
        "TargetGroupStickinessConfig cannot be enabled here: it is by itself where a target group has "
        "stickiness.enabled");
  }
  const json& groups = config["TargetGroups"];
  if (!groups.is_array() || groups.empty()) return std::unexpected("");
  json forward = json::array();
  for (const json& group : groups) {
    if (!has_only(group, {"TargetGroupArn", "Weight"}) || !has_text(group, "TargetGroupArn"))
      return std::unexpected("");
    json& share = forward.emplace_back(json{{"target_group", group["TargetGroupArn"]}});
    if (group.contains("Weight")) share["weight"] = number_of(group["Weight"]);
  }
  // Of one group the weight means nothing, so it may be missing.
  if (forward.size() == 1 && !forward[0].contains("weight")) return forward[0]["target_group"];
  return forward;
}

}  // namespace

Read parse_structure(std::string_view text) {
  if (!text.starts_with('[') && !text.starts_with('{')) return Shorthand(text).whole();
  const auto limit = [](int depth, json::parse_event_t, json&) { return depth <= kNestingMax; };
  json value = json::parse(text, limit, false);
  if (value.is_discarded()) return std::unexpected("not valid JSON");
  return value;
}

Read parse_action(const std::string& text) {
  auto action = parse_structure(text);
  if (!action) return std::unexpected(fmt::format("{}: {}", policy::in_quotes(text), action.error()));
  if (action->is_array() && action->size() == 1) action = json((*action)[0]);
  if (has_only(*action, {"forward"}) && has_text(*action, "forward")) return (*action)["forward"];
  if (!has_only(*action, {"Type", "TargetGroupArn", "ForwardConfig", "Order"}) ||
      action->value("Type", json()) != "forward")
    return expected_action(text);
  const bool named = action->contains("TargetGroupArn");
  if (named && !has_text(*action, "TargetGroupArn")) return expected_action(text);
  if (!action->contains("ForwardConfig"))
    return named ? Read((*action)["TargetGroupArn"]) : Read(expected_action(text));
  auto forward = forward_of((*action)["ForwardConfig"]);
  if (!forward) return forward.error().empty() ? expected_action(text) : forward;
  // Both forms, as describe-listeners prints them, must mean the same group.
  const json& only = forward->is_array() ? (*forward)[0]["target_group"] : *forward;
  const bool one = !forward->is_array() || forward->size() == 1;
  if (named && (!one || only != (*action)["TargetGroupArn"]))
    return std::unexpected("TargetGroupArn beside ForwardConfig must be the one target group of that");
  return forward;
}

}  // namespace tlsplice::cli
