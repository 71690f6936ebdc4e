// The access record of one flow: what it is, what it has moved, how it ended. A plain value that the session
// fills and counts as it goes; written exactly once, as the log line "flow".
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "tlsplice/base/clock.hpp"
#include "tlsplice/base/log.hpp"
#include "tlsplice/net/address.hpp"
#include "tlsplice/observe/counters.hpp"
#include "tlsplice/wire/flows.h"

namespace tlsplice::observe {

/// How a flow ended. The word in the log is the enumerator's in lower case unless said otherwise.
enum class End : std::uint8_t {
  kClosed,                 // both directions ended as they should
  kClientReset,            // RST from the client
  kTargetReset,            // RST from the target
  kClientTruncated,        // FIN without close_notify from the client
  kTargetTruncated,        // the same from a TLS target
  kClientError,            // the client broke TLS after the handshake, or sent a fatal alert
  kTargetError,            // a TLS target did
  kIdleTimeout,            // no byte in either direction for the idle timeout
  kHandshakeFailed,        // not TLS, nothing in common, a fatal alert: see detail
  kHandshakeTimeout,       // the client did not finish the handshake in time
  kClientGone,             // the client left during the handshake
  kTargetRefused,          // no target took the connection
  kTargetTimeout,          // no target answered in time
  kTargetHandshakeFailed,  // a TLS target could not agree with us
  kCut,                    // ended by us: drain timeout or stop
  kOutOfDescriptors,       // none left for the target connection ("exhausted")
  kKtlsRequired,           // ktls = "require" could not be kept
  kOutOfMemory,            // "exhausted"
  kOutOfPorts,             // no local port towards a target ("exhausted")
  kProxyHeaderFailed,      // a trusted proxy's connection began with no header: see detail
  kTargetWithdrawn,        // ended by us: its target turned unhealthy, or was deregistered a while ago
};
const char* to_string(End end);

/// Why a client's handshake failed (End::kHandshakeFailed), each with a counter of its own.
enum class NegotiationError : std::uint8_t { kOther, kNotTls, kProtocol, kCipher, kAlert };

struct FlowRecord {
  static constexpr std::uint32_t kNoRow = static_cast<std::uint32_t>(-1);
  static constexpr std::uint32_t kNoHandshake = static_cast<std::uint32_t>(-1);

  std::string_view listener;
  std::uint32_t listener_row = 0;     // their places in the Shape
  std::uint32_t target_row = kNoRow;  // once connected
  net::Address client;
  net::Address destination{};     // ours, that the client connected to
  net::Address target;            // empty before one was connected
  std::string server_name;        // that the client asked for, at most 255 bytes; empty: none
  const char* protocol = "-";     // "TLSv1.2"
  const char* cipher = "-";       // OpenSSL's name
  const char* group = "-";        // of the key exchange
  const char* alpn = "-";         // the application protocol that was agreed on with the client, "h2"
  const char* target_alpn = "-";  // and with the target
  // What the client offered, as it came (RFC 7301): the first 256 bytes. Null: nothing, or the listener has
  // no ALPN policy. By pointer, since few flows have one.
  std::unique_ptr<const std::string> alpn_offer{};
  const char* client_ktls = "-";       // "kernel", or why the client's TLS stayed in user space
  const char* target_ktls = "-";       // the same of a TLS target
  std::uint64_t received = 0;          // payload bytes from the client, so far
  std::uint64_t received_spliced = 0;  // of them: those that never visited the process
  std::uint64_t sent = 0;              // payload bytes to the client, so far
  std::uint64_t sent_spliced = 0;
  std::uint32_t key_updates_received = 0;  // TLS 1.3 KeyUpdates, from both sides
  std::uint32_t key_updates_sent = 0;
  std::uint32_t handshake_ms = kNoHandshake;  // the client's, from the accepted connection on
  bool key_limit_reached = false;             // ended because a key may protect no more records
  bool truncated = false;                     // also when on_truncation = "fin" let the flow go on
  bool valid_hello = false;                   // the client sent a ClientHello that can be read
  bool tls = false;                           // of the listener
  std::int16_t incoming_alert = -1;           // the last TLS alert from the client but close_notify; -1: none
  End end = End::kClosed;
  NegotiationError negotiation_error = NegotiationError::kOther;
  base::Instant started{};
  std::string detail;  // for people, empty when the end says it all
};

void count_start(Counters& counters, const FlowRecord& record);
/// The handshake with the client is done; record.client_ktls is known.
void count_client_tls(Counters& counters, const FlowRecord& record);
/// A target took the connection: record.target_row.
void count_target(Counters& counters, const FlowRecord& record);
/// The handshake with the target is done; record.target_ktls is known.
void count_target_tls(Counters& counters, const FlowRecord& record, const Negotiated& negotiated);
/// So far that many bytes have come from the client (or from the target), `spliced` of them spliced.
void count_moved(Counters& counters, FlowRecord& record, bool from_client, std::uint64_t bytes,
                 std::uint64_t spliced);
void count_end(Counters& counters, const FlowRecord& record);
/// What is known of a flow that still lives. Leaves alone what the record does not know.
void describe(const FlowRecord& record, base::Instant now, tlsplice_flow& row);
void write(base::Log& log, const FlowRecord& record, base::Instant now);

}  // namespace tlsplice::observe
