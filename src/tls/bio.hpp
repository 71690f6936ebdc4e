// The BIO between OpenSSL and a non-blocking socket: plain recv(2) and send(2), nothing attached to the
// socket behind our back (trap 3: OpenSSL's own socket BIO attaches the kernel TLS ULP). It answers the
// kernel TLS questions with no.
#pragma once

#include <openssl/bio.h>

#include <cstdint>
#include <functional>
#include <string>

namespace tlsplice::tls {

/// What the socket said last, and what its client said of itself (watch.hpp). Owned by the TlsStream, which
/// outlives the BIO.
struct SocketState {
  int fd = -1;
  int error = 0;         // errno of a failed call other than EAGAIN: the connection is gone
  bool end = false;      // recv(2) saw the FIN
  int reads_left = 0;    // recv(2) calls before the BIO says "later", so that one call of OpenSSL has an end
  bool drained = false;  // the last recv(2) came back short: nothing more is queued
  bool more = false;     // another record follows at once: TCP may wait for it (MSG_MORE)
  const std::function<void()>* between = nullptr;  // TlsStream::handshake(), while it runs
  bool valid_hello = false;                        // the client's hello could be read
  std::int16_t incoming_alert = -1;                // the last one but close_notify
  std::string server_name;                         // that the client asked for
  std::string alpn_offer;  // the application protocols that it offered: TlsStream::alpn_offer()
};

/// A BIO on `state->fd`, which it does not own. Null when memory is short.
BIO* new_socket_bio(SocketState* state);

}  // namespace tlsplice::tls
