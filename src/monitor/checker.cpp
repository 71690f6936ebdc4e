#include "checker.hpp"

#include <random>

namespace tlsplice::monitor {
namespace {

using T = tlsplice_target;

/// Until the second check: the first one has all its time, whatever the part of the interval.
base::Milliseconds first_wait(const policy::HealthCheck& settings) {
  static std::minstd_rand random(std::random_device{}());  // spreads load; nobody's secret
  std::uniform_int_distribution<std::int64_t> part(1, settings.interval.count());
  return settings.timeout + base::Milliseconds(part(random));
}

targets::Moment this_moment() {
  return {.wall = std::chrono::system_clock::now(), .steady = base::now()};
}

}  // namespace

Checker::Checker(Setup setup)
    : setup_(std::move(setup)),
      thresholds_{.healthy = setup_.question.settings.healthy_threshold,
                  .unhealthy = setup_.question.settings.unhealthy_threshold,
                  .draining_interval = setup_.draining_interval},
      check_(setup_.loop, setup_.question, setup_.address,
             [this](const std::optional<Answer>& answer) { enter(answer); }),
      timer_(
          setup_.loop, -1, 0, [](evutil_socket_t, short, void* self) { static_cast<Checker*>(self)->turn(); },
          this),
      drained_(
          setup_.loop, -1, 0,
          [](evutil_socket_t, short, void* self) { static_cast<Checker*>(self)->drain(); }, this),
      flows_(count(&T::NewFlowCount), count(&T::TargetConnectionErrorCount)) {}

void Checker::begin(base::Milliseconds delay) {
  timer_.add(delay);
  targets::limit_draining(setup_.row, base::now() + setup_.draining_interval);
  drain();
}

void Checker::turn() {
  const policy::HealthCheck& settings = setup_.question.settings;
  timer_.add(std::exchange(first_, false) ? first_wait(settings) : settings.interval);
  if (const unsigned long held_back = lines_.summary(base::now())) {
    setup_.log.warning("target_health_flapping", {{"target_group", targets::word(setup_.row.target_group)},
                                                  {"target", targets::word(setup_.row.target)},
                                                  {"state", targets::word(setup_.row.state)},
                                                  {"further_changes", held_back}});
  }
  flows_fail_ = flows_.bad(count(&T::NewFlowCount), count(&T::TargetConnectionErrorCount));
  if (flows_fail_) enter({targets::kFailedHealthChecks}, "connections of flows failed, none succeeded");
  check_.start();
}

/// A passed check does not outweigh flows that fail: else a target that only the checks can reach would
/// never be unhealthy.
void Checker::enter(const std::optional<Answer>& answer) {
  if (!answer) {
    if (setup_.shortages.allow(base::now())) {
      setup_.log.error("target_not_checked", {{"target_group", targets::word(setup_.row.target_group)},
                                              {"target", targets::word(setup_.row.target)},
                                              {"why", "no descriptors, memory or local ports"},
                                              {"held_back", setup_.shortages.held_back()}});
    }
    return;
  }
  if (answer->outcome.passed() && flows_fail_) return;
  enter(answer->outcome, answer->detail);
}

void Checker::enter(targets::Outcome outcome, const std::string& detail) {
  if (!targets::enter_check(setup_.row, outcome, thresholds_, this_moment())) return;
  changed(detail);
  drain();
}

/// If it does: until its interval is over, or a passed check comes first.
void Checker::drain() {
  const auto until = targets::drains_until(setup_.row);
  if (!until) return drained_.remove();
  if (targets::end_draining(setup_.row, this_moment())) return changed("the draining interval is over");
  drained_.add(std::chrono::ceil<base::Milliseconds>(*until - base::now()));
}

void Checker::changed(const std::string& detail) {
  setup_.changed();
  if (lines_.allow(base::now())) log_change(detail);
}

void Checker::log_change(const std::string& detail) {
  const auto or_dash = [](std::string_view text) { return text.empty() ? std::string_view("-") : text; };
  const bool healthy = targets::word(setup_.row.state) == targets::kHealthy;
  setup_.log.write(healthy ? base::LogLevel::kInfo : base::LogLevel::kWarning, "target_health",
                   {{"target_group", targets::word(setup_.row.target_group)},
                    {"target", targets::word(setup_.row.target)},
                    {"state", targets::word(setup_.row.state)},
                    {"reason", or_dash(targets::word(setup_.row.reason))},
                    {"detail", or_dash(detail)}});
}

}  // namespace tlsplice::monitor
