// Notes what a client says of itself while OpenSSL listens: whether its ClientHello could be read, the name
// and the application protocols in it, its alerts. All of it goes into the connection's SocketState, so that
// it is known of handshakes too that come to nothing. And lets others in between two messages.
#pragma once

struct ssl_ctx_st;

namespace tlsplice::tls {

/// Of this context's connections: those whose application data is their SocketState. The protocols only on
/// demand.
void watch_clients(ssl_ctx_st* context, bool alpn);
/// The same towards targets, of whom nothing is noted.
void watch_targets(ssl_ctx_st* context);

}  // namespace tlsplice::tls
