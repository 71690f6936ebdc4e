#include "health.hpp"

#include <algorithm>

#include "tlsplice/proxy_protocol/header.hpp"

namespace tlsplice::monitor {
namespace {

using targets::WatchedGroup;

bool wants_tls(const WatchedGroup& watched) {
  return watched.checked() && watched.group.health_check.protocol == policy::CheckProtocol::kHttps;
}

bool wants_http(const WatchedGroup& watched) {
  return watched.checked() && watched.group.health_check.protocol != policy::CheckProtocol::kTcp;
}

}  // namespace

struct Health::Group {
  Question question;
  policy::MinimumHealthyTargets minimum;
  tlsplice_target_group& row;
  std::span<const tlsplice_target_health> targets;
  std::vector<std::unique_ptr<Checker>> checkers;
  FewAMinute lines;
  bool said_open = false;
};

Health::Health(const Setup& setup) : setup_(setup) {}
Health::~Health() = default;

/// HTTPS checks have the policy of all connections to TLS targets, and validate no certificate either.
base::Result<std::unique_ptr<Health>> Health::begin(const Setup& setup) {
  std::unique_ptr<Health> health(new Health(setup));
  if (std::ranges::any_of(setup.groups, wants_tls)) {
    auto context = tls::Context::client();
    if (!context) return base::fail(std::move(context.error()));
    health->context_.emplace(std::move(*context));
  }
  if (std::ranges::any_of(setup.groups, wants_http)) {
    auto http = Http::make(setup.loop, health->context_.has_value());
    if (!http) return base::fail(std::move(http.error()));
    health->http_ = std::move(*http);
  }
  std::size_t row = 0;
  base::Milliseconds delay{0};
  for (std::size_t i = 0; i < setup.groups.size(); ++i) {
    const std::size_t count = setup.groups[i].group.targets.size();
    if (setup.groups[i].checked() && count > 0) {
      health->add(i, row, delay);
      delay += base::Milliseconds(count);
    }
    row += count;
  }
  return health;
}

void Health::add(std::size_t place, std::size_t first_row, base::Milliseconds delay) {
  const policy::TargetGroup& configured = setup_.groups[place].group;
  const std::span rows = setup_.table.targets_of(place);
  groups_.push_back(std::make_unique<Group>(
      Group{.question = {.settings = configured.health_check,
                         .listener_port = setup_.groups[place].listener_port,
                         .header = {},
                         .http = http_.get(),
                         .context = wants_tls(setup_.groups[place]) ? &*context_ : nullptr},
            .minimum = configured.minimum_healthy_targets,
            .row = setup_.table.group(place),
            .targets = rows,
            .checkers = {},
            .lines = {}}));
  Group& group = *groups_.back();
  if (configured.proxy_protocol_v2.enabled) group.question.header = proxy_protocol::local_header();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto& [host, port] = configured.targets[i];
    group.checkers.push_back(std::make_unique<Checker>(Checker::Setup{
        .loop = setup_.loop,
        .question = group.question,
        .draining_interval = configured.unhealthy.draining_interval,
        .address = net::Address::parse(host, configured.health_check.port.value_or(port)).value(),
        .row = rows[i],
        .counters = setup_.counters,
        .counters_row = first_row + i,
        .log = setup_.log,
        .shortages = shortages_,
        .changed = [this, &group] { changed(group); }}));
    group.checkers.back()->begin(delay + base::Milliseconds(i));
  }
  targets::enter_group(group.row, group.targets, group.minimum);
}

/// A group that opens is worth a line of its own: from here on flows meet targets that are not healthy. While
/// there are new targets it is too early to say so.
void Health::changed(Group& group) {
  targets::enter_group(group.row, group.targets, group.minimum);
  const bool all_known = group.row.HealthyHostCount + group.row.UnHealthyHostCount == group.targets.size();
  const bool is_open = group.row.fail_open != 0 && all_known;
  if (is_open == group.said_open || !group.lines.allow(base::now())) return;
  group.said_open = is_open;
  setup_.log.write(is_open ? base::LogLevel::kError : base::LogLevel::kInfo,
                   is_open ? "target_group_fail_open" : "target_group_fail_open_over",
                   {{"target_group", targets::word(group.row.target_group)},
                    {"healthy", group.row.HealthyHostCount},
                    {"targets", group.targets.size()}});
}

}  // namespace tlsplice::monitor
