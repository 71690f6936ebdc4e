// The handshake as one coroutine, from a connected socket to a TlsStream, under one deadline.
// Towards clients and towards TLS targets alike; runs on the worker's ring.
#pragma once

#include <memory>

#include "tlsplice/base/result.hpp"
#include "tlsplice/tls/context.hpp"
#include "tlsplice/tls/stream.hpp"
#include "tlsplice/uring/ops.hpp"

namespace tlsplice::tls {

struct HandshakeError : base::Error {
  NegotiationError reason = NegotiationError::kOther;  // of kProtocol
  // What a server knows of its client all the same: see TlsStream and net::Notes.
  bool valid_hello = false;
  std::int16_t incoming_alert = -1;
  std::string server_name = {};
  std::string alpn_offer = {};
};
using Handshaken = std::expected<std::unique_ptr<TlsStream>, HandshakeError>;

/// The stream, or why there is none: kTimedOut, kClosed (FIN), kReset, kStopped, kExhausted (memory),
/// kProtocol with the library's reason as detail. On kProtocol towards a client the alert has been delivered
/// as far as that client lets us: the socket is kept until it was read, for at most a second (trap 99).
/// `alpn` is what a client offers: one application protocol, or nothing.
uring::Task<Handshaken> handshake(uring::Ring& ring, uring::Stop& stop, base::Fd socket,
                                  const Context& context, TlsStream::Role role, base::Milliseconds limit,
                                  std::string_view alpn = {});

}  // namespace tlsplice::tls
