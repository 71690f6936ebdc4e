// The map `targets`. All of its families say target_group: some of the load balancer's names are a listener's
// as well.
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

}  // namespace

void show_targets(Exposition& out, const observe::CounterTable& counters) {
  Groups targets(out, counters.target_rows(), counters.stride(), by_target);
  targets.show(kWholes);
  targets.show(kBytes, "direction", kDirections);
}

}  // namespace tlsplice::monitor
