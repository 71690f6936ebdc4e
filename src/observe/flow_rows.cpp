#include "flow_rows.hpp"

#include <algorithm>
#include <array>

namespace tlsplice::observe {
namespace {

using L = tlsplice_listener;
using T = tlsplice_target;

struct Reason {
  std::string_view words;
  ListenerCounter counter;
};

// The reasons of OpenSSL 3.0 to 3.6 (crypto/err/openssl.txt), the first that the detail holds. Alerts first:
// their text names the protocol as well.
constexpr std::array kReasons = {
    Reason{"alert", &L::ClientTLSNegotiationErrorCount_Alert},
    Reason{"unsupported protocol", &L::ClientTLSNegotiationErrorCount_Protocol},
    Reason{"version too low", &L::ClientTLSNegotiationErrorCount_Protocol},
    Reason{"inappropriate fallback", &L::ClientTLSNegotiationErrorCount_Protocol},
    Reason{"no shared cipher", &L::ClientTLSNegotiationErrorCount_Cipher},
    Reason{"no suitable",
           &L::ClientTLSNegotiationErrorCount_Cipher},  // key share, groups, signature algorithm
    Reason{"no shared signature", &L::ClientTLSNegotiationErrorCount_Cipher},
    Reason{"no shared groups", &L::ClientTLSNegotiationErrorCount_Cipher},
    Reason{"wrong version number", &L::ClientTLSNegotiationErrorCount_NotTls},
    Reason{"http request", &L::ClientTLSNegotiationErrorCount_NotTls},
    Reason{"https proxy request", &L::ClientTLSNegotiationErrorCount_NotTls},
    Reason{"packet length too long", &L::ClientTLSNegotiationErrorCount_NotTls},
    Reason{"record layer failure", &L::ClientTLSNegotiationErrorCount_NotTls},
};

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
      return counters.add(row, &L::RejectedFlowCount);
    case End::kKtlsRequired:
      return counters.add(row, &L::KtlsRequiredErrorCount);
    case End::kClosed:
    case End::kClientTruncated:
    case End::kTargetTruncated:
    case End::kClientError:
    case End::kTargetError:
    case End::kCut:
      return;
  }
}

}  // namespace

ListenerCounter negotiation_error_of(const FlowRecord& record) {
  if (record.end == End::kHandshakeTimeout) return &L::ClientTLSNegotiationErrorCount_Timeout;
  if (record.end == End::kClientGone) return &L::ClientTLSNegotiationErrorCount_ClientGone;
  const auto known = std::ranges::find_if(
      kReasons, [&](const Reason& reason) { return record.detail.find(reason.words) != std::string::npos; });
  return known == kReasons.end() ? &L::ClientTLSNegotiationErrorCount_Other : known->counter;
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
