// The maps `targets`, `target_health` and `target_groups`. All of their families say target_group: some of
// the load balancer's names are a listener's as well.
#include "families.hpp"

namespace tlsplice::monitor {
namespace {

using T = tlsplice_target;

constexpr Whole<T> kWholes[] = {
    {{"tlsplice_target_group_active_flows", Type::kGauge, "Flows that there are now."}, &T::ActiveFlowCount},
    {{"tlsplice_target_group_new_flow_count_total", Type::kCounter, "Flows that the target took."},
     &T::NewFlowCount},
    {{"tlsplice_target_group_target_connection_error_count_total", Type::kCounter,
      "Connections to the target that failed, each try."},
     &T::TargetConnectionErrorCount},
    {{"tlsplice_target_group_target_tls_negotiation_error_count_total", Type::kCounter,
      "TLS handshakes with the target that failed."},
     &T::TargetTLSNegotiationErrorCount},
    {{"tlsplice_target_group_tcp_target_reset_count_total", Type::kCounter, "Flows that the target reset."},
     &T::TCP_Target_Reset_Count}};

constexpr Family kBytes{"tlsplice_target_group_processed_bytes_total", Type::kCounter, "Payload bytes."};
constexpr Part<T> kDirections[] = {{"to_target", &T::ProcessedBytes_ToTarget},
                                   {"from_target", &T::ProcessedBytes_FromTarget}};

Labels by_target(const T& row) {
  return {{"target_group", text(row.target_group)}, {"target", text(row.target)}};
}

using H = tlsplice_target_health;
using G = tlsplice_target_group;

constexpr Whole<G> kOfGroups[] = {
    {{"tlsplice_target_group_healthy_hosts", Type::kGauge, "Targets that are healthy."},
     &G::HealthyHostCount},
    {{"tlsplice_target_group_unhealthy_hosts", Type::kGauge, "Targets that are unhealthy."},
     &G::UnHealthyHostCount},
    {{"tlsplice_target_group_fail_open", Type::kGauge,
      "1: fewer targets are healthy than minimum_healthy_targets, so flows go to all of them."},
     &G::fail_open}};

constexpr Family kHealth{"tlsplice_target_group_target_healthy", Type::kGauge,
                         "1: the target is healthy; 0: it is not, or not yet."};
constexpr Family kChecks{"tlsplice_target_group_health_check_count_total", Type::kCounter,
                         "Health checks, passive ones too."};
constexpr Part<H> kResults[] = {{"passed", &H::PassedCheckCount}, {"failed", &H::FailedCheckCount}};
constexpr Whole<H> kChanges[] = {{{"tlsplice_target_group_health_change_count_total", Type::kCounter,
                                   "How often the target's state changed."},
                                  &H::StateChangeCount}};

/// A group that nobody checks would seem to have no healthy target.
Labels by_checked_group(const G& row) {
  if (row.checked == 0) return {};
  return {{"target_group", text(row.target_group)}};
}
Labels by_checked_target(const H& row) {
  const std::string_view state = text(row.state);
  if (state == targets::kUnavailable || state == targets::kUnused) return {};
  return {{"target_group", text(row.target_group)}, {"target", text(row.target)}};
}

}  // namespace

void show_health(Exposition& out, const targets::HealthTable& health) {
  Groups(out, health.group_rows(), 1, by_checked_group).show(kOfGroups);
  Groups checked(out, health.target_rows(), 1, by_checked_target);
  out.begin(kHealth);
  checked.each([&](const Labels& labels, std::span<const H> row) {
    out.sample(labels, text(row.front().state) == targets::kHealthy ? 1 : 0);
  });
  checked.show(kChecks, "result", kResults);
  checked.show(kChanges);
}

void show_targets(Exposition& out, const observe::CounterTable& counters) {
  Groups targets(out, counters.target_rows(), counters.stride(), by_target);
  targets.show(kWholes);
  targets.show(kBytes, "direction", kDirections);
}

}  // namespace tlsplice::monitor
