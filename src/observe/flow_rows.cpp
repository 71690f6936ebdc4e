#include "flow_rows.hpp"

namespace tlsplice::observe {
namespace {

using L = tlsplice_listener;
using T = tlsplice_target;

void count_client_cause(Counters& counters, const FlowRecord& record) {
  const std::size_t row = record.listener_row;
  switch (record.end) {
    case End::kClientReset:
      return counters.add(row, &L::TCP_Client_Reset_Count);
    case End::kTargetReset:
      return counters.add(row, &L::TCP_Target_Reset_Count);
    case End::kHandshakeFailed:
    case End::kHandshakeTimeout:
    case End::kClientGone:
      counters.add(row, &L::ClientTLSNegotiationErrorCount);
      return counters.add(row, negotiation_error_of(record));
    case End::kIdleTimeout:
      return counters.add(row, &L::IdleTimeoutCount);
    case End::kTargetHandshakeFailed:
      return counters.add(row, &L::TargetTLSNegotiationErrorCount);
    case End::kTargetRefused:
    case End::kTargetTimeout:
      return counters.add(row, &L::TargetConnectionErrorCount);
    case End::kOutOfDescriptors:
    case End::kOutOfMemory:
    case End::kOutOfPorts:
      return counters.add(row, &L::RejectedFlowCount);
    case End::kKtlsRequired:
      return counters.add(row, &L::KtlsRequiredErrorCount);
    case End::kProxyHeaderFailed:
      return counters.add(row, &L::ProxyHeaderErrorCount);
    case End::kClosed:
    case End::kClientTruncated:
    case End::kTargetTruncated:
    case End::kClientError:
    case End::kTargetError:
    case End::kCut:
    case End::kTargetWithdrawn:
      return;
  }
}

}  // namespace

ListenerCounter negotiation_error_of(const FlowRecord& record) {
  if (record.end == End::kHandshakeTimeout) return &L::ClientTLSNegotiationErrorCount_Timeout;
  if (record.end == End::kClientGone) return &L::ClientTLSNegotiationErrorCount_ClientGone;
  switch (record.negotiation_error) {
    case NegotiationError::kNotTls:
      return &L::ClientTLSNegotiationErrorCount_NotTls;
    case NegotiationError::kProtocol:
      return &L::ClientTLSNegotiationErrorCount_Protocol;
    case NegotiationError::kCipher:
      return &L::ClientTLSNegotiationErrorCount_Cipher;
    case NegotiationError::kAlert:
      return &L::ClientTLSNegotiationErrorCount_Alert;
    case NegotiationError::kOther:
      break;
  }
  return &L::ClientTLSNegotiationErrorCount_Other;
}

void start_rows(Counters& counters, const FlowRecord& record) {
  counters.add(record.listener_row, &L::NewFlowCount);
  counters.add(record.listener_row, &L::ActiveFlowCount);
}

void move_rows(Counters& counters, const FlowRecord& record, bool from_client, std::uint64_t bytes,
               std::uint64_t spliced) {
  counters.add(record.listener_row, from_client ? &L::ProcessedBytes_FromClient : &L::ProcessedBytes_ToClient,
               bytes);
  counters.add(record.listener_row, &L::SplicedBytes, spliced);
  counters.add(record.target_row, from_client ? &T::ProcessedBytes_ToTarget : &T::ProcessedBytes_FromTarget,
               bytes);
}

void end_rows(Counters& counters, const FlowRecord& record) {
  if (record.truncated) counters.add(record.listener_row, &L::TruncatedCount);
  if (resets(record.end)) counters.add(record.listener_row, &L::TCP_ELB_Reset_Count);
  count_client_cause(counters, record);
  counters.subtract(record.listener_row, &L::ActiveFlowCount);
  if (record.target_row == FlowRecord::kNoRow) return;
  if (record.end == End::kTargetReset) counters.add(record.target_row, &T::TCP_Target_Reset_Count);
  if (record.end == End::kTargetHandshakeFailed)
    counters.add(record.target_row, &T::TargetTLSNegotiationErrorCount);
  counters.subtract(record.target_row, &T::ActiveFlowCount);
}

}  // namespace tlsplice::observe
