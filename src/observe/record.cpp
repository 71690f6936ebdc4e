#include "tlsplice/observe/record.hpp"

#include <utility>

#include "flow_rows.hpp"

namespace tlsplice::observe {
namespace {

using C = tlsplice_counters;

void count_cause(Counters& counters, End end) {
  if (resets(end)) counters.add(&C::TCP_ELB_Reset_Count);
  switch (end) {
    case End::kClientReset:
      return counters.add(&C::TCP_Client_Reset_Count);
    case End::kTargetReset:
      return counters.add(&C::TCP_Target_Reset_Count);
    case End::kIdleTimeout:
      return counters.add(&C::IdleTimeoutCount);
    case End::kHandshakeFailed:
    case End::kHandshakeTimeout:
    case End::kClientGone:
      return counters.add(&C::ClientTLSNegotiationErrorCount);
    case End::kTargetHandshakeFailed:
      return counters.add(&C::TargetTLSNegotiationErrorCount);
    case End::kOutOfDescriptors:
      return counters.add(&C::RejectedFlowCount_Descriptors);
    case End::kOutOfMemory:
      return counters.add(&C::RejectedFlowCount_Memory);
    case End::kOutOfPorts:
      return counters.add(&C::PortAllocationErrorCount);
    case End::kProxyHeaderFailed:
      return counters.add(&C::ProxyHeaderErrorCount);
    case End::kClosed:
    case End::kKtlsRequired:
    case End::kClientTruncated:
    case End::kTargetTruncated:
    case End::kClientError:
    case End::kTargetError:
    case End::kTargetRefused:
    case End::kTargetTimeout:
    case End::kCut:
    case End::kTargetWithdrawn:
      return;
  }
}

}  // namespace

const char* to_string(End end) {
  switch (end) {
    case End::kClosed:
      return "closed";
    case End::kClientReset:
      return "client_reset";
    case End::kTargetReset:
      return "target_reset";
    case End::kClientTruncated:
      return "client_truncated";
    case End::kTargetTruncated:
      return "target_truncated";
    case End::kClientError:
      return "client_error";
    case End::kTargetError:
      return "target_error";
    case End::kIdleTimeout:
      return "idle_timeout";
    case End::kHandshakeFailed:
      return "handshake_failed";
    case End::kHandshakeTimeout:
      return "handshake_timeout";
    case End::kClientGone:
      return "client_gone";
    case End::kTargetRefused:
      return "target_refused";
    case End::kTargetTimeout:
      return "target_timeout";
    case End::kTargetHandshakeFailed:
      return "target_handshake_failed";
    case End::kCut:
      return "cut";
    case End::kKtlsRequired:
      return "ktls_required";
    case End::kProxyHeaderFailed:
      return "proxy_header_failed";
    case End::kTargetWithdrawn:
      return "target_withdrawn";
    case End::kOutOfDescriptors:
    case End::kOutOfMemory:
    case End::kOutOfPorts:
      return "exhausted";
  }
  return "unknown";
}

bool resets(End end) {
  switch (end) {
    case End::kClosed:
    case End::kClientReset:
    case End::kTargetReset:
    case End::kHandshakeFailed:
    case End::kHandshakeTimeout:
    case End::kClientGone:
    case End::kProxyHeaderFailed:
      return false;
    default:
      return true;
  }
}

void count_client_tls(Counters& counters, const FlowRecord& record) {
  counters.add(&C::ClientTLSHandshakeCount);
  counters.add({"client", record.protocol, record.cipher, record.group});
  counters.add_ktls(true, record.client_ktls);
}

void count_target(Counters& counters, const FlowRecord& record) {
  counters.add(record.target_row, &tlsplice_target::NewFlowCount);
  counters.add(record.target_row, &tlsplice_target::ActiveFlowCount);
}

void count_target_tls(Counters& counters, const FlowRecord& record, const Negotiated& negotiated) {
  counters.add(negotiated);
  counters.add_ktls(false, record.target_ktls);
}

void count_start(Counters& counters, const FlowRecord& record) {
  counters.add(&C::NewFlowCount);
  counters.add(&C::ActiveFlowCount);
  counters.add(record.tls ? &C::NewFlowCount_TLS : &C::NewFlowCount_TCP);
  counters.add(record.tls ? &C::ActiveFlowCount_TLS : &C::ActiveFlowCount_TCP);
  start_rows(counters, record);
}

void count_moved(Counters& counters, FlowRecord& record, bool from_client, std::uint64_t bytes,
                 std::uint64_t spliced) {
  const std::uint64_t more = bytes - std::exchange(from_client ? record.received : record.sent, bytes);
  const std::uint64_t more_spliced =
      spliced - std::exchange(from_client ? record.received_spliced : record.sent_spliced, spliced);
  counters.add(&C::ProcessedBytes, more);
  counters.add(record.tls ? &C::ProcessedBytes_TLS : &C::ProcessedBytes_TCP, more);
  counters.add(&C::SplicedBytes, more_spliced);
  move_rows(counters, record, from_client, more, more_spliced);
}

void count_end(Counters& counters, const FlowRecord& record) {
  counters.add(&C::KeyUpdateReceivedCount, record.key_updates_received);
  counters.add(&C::KeyUpdateSentCount, record.key_updates_sent);
  if (record.key_limit_reached) counters.add(&C::KeyLimitErrorCount);
  if (record.truncated) counters.add(&C::TruncatedCount);
  count_cause(counters, record.end);
  counters.subtract(record.tls ? &C::ActiveFlowCount_TLS : &C::ActiveFlowCount_TCP);
  counters.subtract(&C::ActiveFlowCount);
  end_rows(counters, record);
}

void describe(const FlowRecord& record, base::Instant now, tlsplice_flow& row) {
  using base::enter_text;
  enter_text(row.listener, record.listener);
  enter_text(row.client, record.client.text());
  if (record.target != net::Address()) enter_text(row.target, record.target.text());
  enter_text(row.protocol, record.protocol);
  enter_text(row.cipher, record.cipher);
  enter_text(row.group, record.group);
  enter_text(row.alpn, record.alpn);
  enter_text(row.target_alpn, record.target_alpn);
  enter_text(row.client_ktls, record.client_ktls);
  enter_text(row.target_ktls, record.target_ktls);
  enter_text(row.server_name, record.server_name);
  row.age_ms =
      static_cast<__u64>(std::chrono::duration_cast<base::Milliseconds>(now - record.started).count());
  row.received = record.received;
  row.sent = record.sent;
}

void write(base::Log& log, const FlowRecord& record, base::Instant now) {
  if (!log.enabled(base::LogLevel::kInfo)) return;
  const auto duration = std::chrono::duration_cast<base::Milliseconds>(now - record.started).count();
  const auto or_dash = [](std::string_view text) { return text.empty() ? std::string_view("-") : text; };
  log.info("flow", {{"listener", record.listener},
                    {"client", record.client.text()},
                    {"target", record.target.text()},
                    {"server_name", or_dash(record.server_name)},
                    {"protocol", record.protocol},
                    {"cipher", record.cipher},
                    {"alpn", record.alpn},
                    {"client_ktls", record.client_ktls},
                    {"target_ktls", record.target_ktls},
                    {"received_bytes", record.received},
                    {"sent_bytes", record.sent},
                    {"duration_ms", duration},
                    {"end", to_string(record.end)},
                    {"detail", or_dash(record.detail)}});
}

}  // namespace tlsplice::observe
