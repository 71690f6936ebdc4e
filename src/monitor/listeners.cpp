// The maps `listeners` and `histograms`.
#include <vector>

#include "families.hpp"

namespace tlsplice::monitor {
namespace {

using L = tlsplice_listener;
using Times = tlsplice_histograms;

constexpr Whole<L> kFlows[] = {
    {{"tlsplice_active_flows", Type::kGauge, "Flows that there are now."}, &L::ActiveFlowCount},
    {{"tlsplice_new_flow_count_total", Type::kCounter, "Flows that began."}, &L::NewFlowCount}};

constexpr Family kProcessedBytes{"tlsplice_processed_bytes_total", Type::kCounter, "Payload bytes."};
constexpr Part<L> kProcessed[] = {{"from_client", &L::ProcessedBytes_FromClient},
                                  {"to_client", &L::ProcessedBytes_ToClient}};

constexpr Family kNegotiationErrors{"tlsplice_client_tls_negotiation_error_count_total", Type::kCounter,
                                    "Handshakes with clients that failed."};
constexpr Part<L> kReasons[] = {{"timeout", &L::ClientTLSNegotiationErrorCount_Timeout},
                                {"client_gone", &L::ClientTLSNegotiationErrorCount_ClientGone},
                                {"protocol", &L::ClientTLSNegotiationErrorCount_Protocol},
                                {"cipher", &L::ClientTLSNegotiationErrorCount_Cipher},
                                {"not_tls", &L::ClientTLSNegotiationErrorCount_NotTls},
                                {"alert", &L::ClientTLSNegotiationErrorCount_Alert},
                                {"other", &L::ClientTLSNegotiationErrorCount_Other}};

constexpr Whole<L> kRest[] = {
    {{"tlsplice_spliced_bytes_total", Type::kCounter,
      "Of the processed bytes those that never visited the process."},
     &L::SplicedBytes},
    {{"tlsplice_target_connection_error_count_total", Type::kCounter, "Flows that no target took."},
     &L::TargetConnectionErrorCount},
    {{"tlsplice_target_tls_negotiation_error_count_total", Type::kCounter,
      "Flows whose target failed the TLS handshake."},
     &L::TargetTLSNegotiationErrorCount},
    {{"tlsplice_tcp_client_reset_count_total", Type::kCounter, "Flows that the client reset."},
     &L::TCP_Client_Reset_Count},
    {{"tlsplice_tcp_target_reset_count_total", Type::kCounter, "Flows that the target reset."},
     &L::TCP_Target_Reset_Count},
    {{"tlsplice_tcp_elb_reset_count_total", Type::kCounter,
      "Flows that we ended by resetting a side that had not reset."},
     &L::TCP_ELB_Reset_Count},
    {{"tlsplice_rejected_flow_count_total", Type::kCounter,
      "Connections refused for a limit: see tlsplice_limit_reached_count_total for which."},
     &L::RejectedFlowCount},
    {{"tlsplice_truncated_count_total", Type::kCounter, "Flows with a FIN that no close_notify announced."},
     &L::TruncatedCount},
    {{"tlsplice_idle_timeout_count_total", Type::kCounter, "Flows that moved no byte for the idle timeout."},
     &L::IdleTimeoutCount},
    {{"tlsplice_ktls_required_error_count_total", Type::kCounter,
      "Flows refused because ktls is required and could not be had."},
     &L::KtlsRequiredErrorCount},
    {{"tlsplice_proxy_header_error_count_total", Type::kCounter,
      "Connections without the PROXY protocol's header where there must be one."},
     &L::ProxyHeaderErrorCount}};

Labels by_name(const L& row) {
  return {{"listener", text(row.listener)}};
}
Labels by_name_and_protocol(const L& row) {
  return {{"listener", text(row.listener)}, {"protocol", text(row.protocol)}};
}
/// What only TLS has would stay zero at a TCP listener.
Labels by_name_where_tls(const auto& row) {
  if (text(row.protocol) == "TCP") return {};
  return {{"listener", text(row.listener)}};
}

void show_time(Exposition& out, const observe::CounterTable& counters, observe::Timing timing,
               const Family& family) {
  const auto [sum_us, buckets] = observe::histogram(timing);
  std::vector<Step> steps;
  out.begin(family);
  const auto labels = [timing](const Times& row) -> Labels {
    if (timing == observe::Timing::kHandshake) return by_name_where_tls(row);
    return {{"listener", text(row.listener)}};
  };
  Groups(out, counters.histogram_rows(), counters.stride(), labels)
      .each([&](const Labels& of_listener, std::span<const Times> rows) {
        steps.clear();
        for (const observe::Bucket& bucket : buckets)
          steps.push_back({bucket.upto_us, sum(rows, bucket.count)});
        out.histogram(of_listener, steps, sum(rows, sum_us));
      });
}

}  // namespace

void show_listeners(Exposition& out, const observe::CounterTable& counters) {
  const auto rows = counters.listener_rows();
  const std::size_t stride = counters.stride();
  Groups with_protocol(out, rows, stride, by_name_and_protocol);
  with_protocol.show(kFlows);
  with_protocol.show(kProcessedBytes, "direction", kProcessed);
  Groups(out, rows, stride, by_name_where_tls<L>).show(kNegotiationErrors, "reason", kReasons);
  Groups(out, rows, stride, by_name).show(kRest);
}

void show_times(Exposition& out, const observe::CounterTable& counters) {
  using observe::Timing;
  show_time(
      out, counters, Timing::kHandshake,
      {"tlsplice_client_tls_handshake_seconds", Type::kHistogram,
       "From the accepted connection to the end of the handshake with the client, if it was completed."});
  show_time(
      out, counters, Timing::kConnect,
      {"tlsplice_target_connect_seconds", Type::kHistogram, "The connection to a target, if it succeeded."});
  show_time(out, counters, Timing::kFlow,
            {"tlsplice_flow_duration_seconds", Type::kHistogram,
             "From the accepted connection to the end of the flow, however it ended."});
}

}  // namespace tlsplice::monitor
