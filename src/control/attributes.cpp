#include "attributes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>

#include "tlsplice/policy/words.hpp"

namespace tlsplice::control {
namespace {

using policy::HeaderPlacement;
using policy::in_quotes;
using policy::TargetGroup;
using std::chrono::seconds;
using Wrong = std::optional<std::string>;

std::string text_of(bool value) {
  return value ? "true" : "false";
}

std::string text_of(base::Milliseconds value) {
  return fmt::to_string(std::chrono::duration_cast<seconds>(value).count());
}

Wrong set(bool& value, std::string_view text) {
  if (text != "true" && text != "false")
    return fmt::format("{} is unknown, expected \"true\" or \"false\"", in_quotes(text));
  value = text == "true";
  return std::nullopt;
}

Wrong set(base::Milliseconds& value, std::string_view text, base::Milliseconds max) {
  const auto most = std::chrono::duration_cast<seconds>(max).count();
  std::int64_t number = -1;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (fault != std::errc{} || end != text.data() + text.size() || number < 0 || number > most)
    return fmt::format("{} is out of range, expected a number of seconds from 0 to {}", in_quotes(text),
                       most);
  value = seconds(number);
  return std::nullopt;
}

Wrong only(std::string_view text, std::string_view value, std::string_view why) {
  if (text == value) return std::nullopt;
  return fmt::format("can only be {} here: {}", in_quotes(value), why);
}

constexpr const char* kOneHost = "one host has neither zones nor DNS records to take away";

/// A number from 1 to `max`; "off" (0) where it may be.
Wrong set_minimum(std::uint32_t& value, std::string_view text, std::uint32_t max, bool may_be_off) {
  if (may_be_off && text == "off") {
    value = 0;
    return std::nullopt;
  }
  std::uint32_t number = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (fault != std::errc{} || end != text.data() + text.size() || number < 1 || number > max) {
    return fmt::format("{} is out of range, expected {}a number from 1 to {}", in_quotes(text),
                       may_be_off ? "\"off\" or " : "", max);
  }
  value = number;
  return std::nullopt;
}

constexpr Attribute kAttributes[] = {
    {"deregistration_delay.timeout_seconds",
     [](const TargetGroup& group) { return text_of(group.deregistration_delay.timeout); },
     [](TargetGroup& group, std::string_view text) {
       return set(group.deregistration_delay.timeout, text, policy::kDeregistrationDelayMax);
     }},
    {"deregistration_delay.connection_termination.enabled",
     [](const TargetGroup& group) { return text_of(group.deregistration_delay.connection_termination); },
     [](TargetGroup& group, std::string_view text) {
       return set(group.deregistration_delay.connection_termination, text);
     }},
    {"proxy_protocol_v2.enabled",
     [](const TargetGroup& group) { return text_of(group.proxy_protocol_v2.enabled); },
     [](TargetGroup& group, std::string_view text) { return set(group.proxy_protocol_v2.enabled, text); }},
    {"proxy_protocol_v2.client_to_server.header_placement",
     [](const TargetGroup& group) -> std::string {
       const bool at_once = group.proxy_protocol_v2.placement == HeaderPlacement::kOnFirstAck;
       return at_once ? "on_first_ack" : "on_first_ack_with_payload";
     },
     [](TargetGroup& group, std::string_view text) -> Wrong {
       const bool at_once = text == "on_first_ack";
       if (!at_once && text != "on_first_ack_with_payload")
         return fmt::format(R"({} is unknown, expected "on_first_ack_with_payload" or "on_first_ack")",
                            in_quotes(text));
       group.proxy_protocol_v2.placement =
           at_once ? HeaderPlacement::kOnFirstAck : HeaderPlacement::kOnFirstAckWithPayload;
       return std::nullopt;
     }},
    {"preserve_client_ip.enabled", [](const TargetGroup& group) { return text_of(group.preserve_client_ip); },
     [](TargetGroup& group, std::string_view text) { return set(group.preserve_client_ip, text); }},
    {"stickiness.enabled", [](const TargetGroup& group) { return text_of(group.stickiness); },
     [](TargetGroup& group, std::string_view text) { return set(group.stickiness, text); }},
    {"stickiness.type", [](const TargetGroup&) -> std::string { return "source_ip"; },
     [](TargetGroup&, std::string_view text) {
       return only(text, "source_ip", "a network load balancer knows no other");
     }},
    {"load_balancing.cross_zone.enabled",
     [](const TargetGroup&) -> std::string { return "use_load_balancer_configuration"; },
     [](TargetGroup&, std::string_view text) {
       return only(text, "use_load_balancer_configuration", kOneHost);
     }},
    {"target_group_health.dns_failover.minimum_healthy_targets.count",
     [](const TargetGroup&) -> std::string { return "1"; },
     [](TargetGroup&, std::string_view text) { return only(text, "1", kOneHost); }},
    {"target_group_health.dns_failover.minimum_healthy_targets.percentage",
     [](const TargetGroup&) -> std::string { return "off"; },
     [](TargetGroup&, std::string_view text) { return only(text, "off", kOneHost); }},
    {"target_group_health.unhealthy_state_routing.minimum_healthy_targets.count",
     [](const TargetGroup& group) { return fmt::to_string(group.minimum_healthy_targets.count); },
     [](TargetGroup& group, std::string_view text) {
       return set_minimum(group.minimum_healthy_targets.count, text, policy::kTargetsOfAGroupMax, false);
     }},
    {"target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage",
     [](const TargetGroup& group) -> std::string {
       const std::uint32_t percentage = group.minimum_healthy_targets.percentage;
       return percentage == 0 ? "off" : fmt::to_string(percentage);
     },
     [](TargetGroup& group, std::string_view text) {
       return set_minimum(group.minimum_healthy_targets.percentage, text, 100, true);
     }},
    {"target_health_state.unhealthy.connection_termination.enabled",
     [](const TargetGroup& group) { return text_of(group.unhealthy.connection_termination); },
     [](TargetGroup& group, std::string_view text) {
       return set(group.unhealthy.connection_termination, text);
     }},
    {"target_health_state.unhealthy.draining_interval_seconds",
     [](const TargetGroup& group) { return text_of(group.unhealthy.draining_interval); },
     [](TargetGroup& group, std::string_view text) {
       return set(group.unhealthy.draining_interval, text, policy::kDrainingIntervalMax);
     }},
};

}  // namespace

std::span<const Attribute> attributes() {
  return kAttributes;
}

const Attribute* find_attribute(std::string_view key) {
  const auto* const found = std::ranges::find(kAttributes, key, &Attribute::key);
  return found == std::end(kAttributes) ? nullptr : found;
}

}  // namespace tlsplice::control
