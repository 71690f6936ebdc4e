// A target group's health_check, with the load balancer's settings, and the threshold of its
// target_group_health below which all targets are used. The lower ends of the ranges are ours: a test, or a
// host whose targets are a network away from nothing, wants less than the load balancer's five seconds.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "sections.hpp"
#include "tlsplice/policy/units.hpp"
#include "tlsplice/policy/words.hpp"

namespace tlsplice::policy {
namespace {

constexpr Milliseconds kIntervalMin{100};
constexpr Milliseconds kIntervalMax{300'000};
constexpr Milliseconds kTimeoutMin{10};
constexpr Milliseconds kTimeoutMax{120'000};
constexpr std::int64_t kThresholdMax = 10;
constexpr std::uint16_t kCodeMin = 200;
constexpr std::uint16_t kCodeMax = 599;
constexpr std::size_t kPathMax = 1024;  // the load balancer's limit
constexpr const char* kTrafficPort = "traffic-port";
constexpr const char* kCheckExample = R"({ protocol = "HTTP", path = "/healthz" })";
constexpr const char* kRoutingExample = "{ minimum_healthy_targets = { count = 1 } }";

HealthCheck read_check(TableReader& table);
std::optional<std::uint16_t> read_port(TableReader& check);
void read_http(TableReader& check, HealthCheck& health);
void read_times(TableReader& check, HealthCheck& health);
MinimumHealthyTargets read_minimum(TableReader& routing);
std::optional<std::vector<CodeRange>> parse_codes(std::string_view text);

}  // namespace

void read_health(TableReader& table, TargetGroup& group) {
  group.health_check = read_check(table);
  auto health =
      table.table("target_group_health", fmt::format("{{ unhealthy_state_routing = {} }}", kRoutingExample));
  if (!health) return;
  if (auto routing = health->table("unhealthy_state_routing", kRoutingExample)) {
    group.minimum_healthy_targets = read_minimum(*routing);
    routing->finish();
  }
  health->finish();
}

namespace {

HealthCheck read_check(TableReader& table) {
  HealthCheck health;
  auto check = table.table("health_check", kCheckExample);
  if (!check) return health;
  health.enabled = check->boolean("enabled").value_or(health.enabled);
  health.protocol = check
                        ->choice<CheckProtocol>("protocol", {{"TCP", CheckProtocol::kTcp},
                                                             {"HTTP", CheckProtocol::kHttp},
                                                             {"HTTPS", CheckProtocol::kHttps}})
                        .value_or(health.protocol);
  health.port = read_port(*check);
  read_http(*check, health);
  read_times(*check, health);
  for (const auto& [key, threshold] : {std::pair("healthy_threshold", &health.healthy_threshold),
                                       std::pair("unhealthy_threshold", &health.unhealthy_threshold)}) {
    *threshold = static_cast<std::uint32_t>(check->integer(key, 1, kThresholdMax).value_or(*threshold));
  }
  check->finish();
  return health;
}

std::optional<std::uint16_t> read_port(TableReader& check) {
  if (!check.has("port")) return std::nullopt;
  if (check.has_number("port")) {
    const auto port = check.integer("port", 1, 65535);
    if (port) return static_cast<std::uint16_t>(*port);
    return std::nullopt;
  }
  const auto word = check.text("port");
  if (word && word->value != kTrafficPort) {
    check.wrong("port", fmt::format("{} is no port, expected {} or a number without quotes, 1 to 65535",
                                    in_quotes(word->value), in_quotes(kTrafficPort)));
  }
  return std::nullopt;
}

/// What is sent as it stands: no space, no control character, so that no line of the request can be forged.
bool is_path(std::string_view path) {
  return path.starts_with('/') && path.size() <= kPathMax &&
         std::ranges::all_of(path, [](char c) { return c > ' ' && c < 0x7f; });
}

void read_http(TableReader& check, HealthCheck& health) {
  if (health.protocol == CheckProtocol::kTcp) {
    for (const std::string_view key : {"path", "matcher"}) {
      if (check.has(key))
        check.wrong(key, R"(only for HTTP and HTTPS checks; remove it or set protocol = "HTTP")");
    }
    return;
  }
  if (auto path = check.text("path")) {
    if (!is_path(path->value)) {
      check.wrong("path", fmt::format("{} is no path, expected one such as \"/healthz\": at most {} "
                                      "characters, those beyond ASCII and spaces as %XX",
                                      in_quotes(path->value), kPathMax));
    }
    health.path = std::move(path->value);
  }
  if (const auto matcher = check.text("matcher")) {
    if (auto codes = parse_codes(matcher->value)) {
      health.matcher = std::move(*codes);
    } else {
      check.wrong("matcher", fmt::format("{} is no list of status codes, expected codes from {} to {} and "
                                         "ranges of them such as \"200,204,300-302\"",
                                         in_quotes(matcher->value), kCodeMin, kCodeMax));
    }
  }
}

/// A check that outlasts the interval would meet the next one. The default timeout gives way.
void read_times(TableReader& check, HealthCheck& health) {
  health.interval = check.duration("interval", kIntervalMin, kIntervalMax).value_or(health.interval);
  const Milliseconds usual =
      health.protocol == CheckProtocol::kHttp ? kDefaultHttpCheckTimeout : kDefaultCheckTimeout;
  const auto timeout = check.duration("timeout", kTimeoutMin, kTimeoutMax);
  health.timeout = timeout.value_or(std::min(usual, health.interval));
  if (health.timeout <= health.interval) return;
  check.wrong("timeout", fmt::format("\"{}\" is longer than the interval, expected at most \"{}\"",
                                     duration_text(health.timeout), duration_text(health.interval)));
}

MinimumHealthyTargets read_minimum(TableReader& routing) {
  MinimumHealthyTargets minimum;
  auto keys = routing.table("minimum_healthy_targets", "{ count = 1 }");
  if (!keys) return minimum;
  minimum.count = static_cast<std::uint32_t>(
      keys->integer("count", 1, static_cast<std::int64_t>(kTargetsOfAGroupMax)).value_or(minimum.count));
  if (keys->has_number("percentage")) {
    minimum.percentage = static_cast<std::uint32_t>(keys->integer("percentage", 1, 100).value_or(0));
  } else if (const auto word = keys->text("percentage"); word && word->value != "off") {
    keys->wrong("percentage", fmt::format("{} is no percentage, expected \"off\" or a number without quotes, "
                                          "1 to 100",
                                          in_quotes(word->value)));
  }
  keys->finish();
  return minimum;
}

std::optional<std::uint16_t> parse_code(std::string_view text) {
  std::uint16_t code = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), code);
  const bool whole = fault == std::errc{} && end == text.data() + text.size();
  return whole && code >= kCodeMin && code <= kCodeMax ? std::optional(code) : std::nullopt;
}

std::optional<std::vector<CodeRange>> parse_codes(std::string_view text) {
  std::vector<CodeRange> codes;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string_view part = text.substr(begin, end - begin);
    const std::size_t dash = std::min(part.find('-'), part.size());
    const auto first = parse_code(part.substr(0, dash));
    const auto last = dash == part.size() ? first : parse_code(part.substr(dash + 1));
    if (!first || !last || *first > *last) return std::nullopt;
    codes.push_back({*first, *last});
    begin = end + 1;
  }
  return codes;
}

}  // namespace
}  // namespace tlsplice::policy
