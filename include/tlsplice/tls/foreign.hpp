// Connections that somebody else's event loop drives: the health checks' libevent, which calls OpenSSL
// itself. What must be known of OpenSSL for that, so that this room stays the only one that does.
#pragma once

#include <string>

#include "tlsplice/tls/context.hpp"

struct ssl_st;

namespace tlsplice::tls {

/// A connection as client under the context's policy. The caller's, who hands it to what frees it
/// (bufferevent_openssl_socket_new); null when there is no memory for it.
ssl_st* new_connection(const Context& context);

/// Sends a close_notify as far as the socket takes it at once, if the handshake was completed.
void say_goodbye(ssl_st* connection);

/// A code of OpenSSL's error queue, for people: "wrong version number"; empties the queue.
std::string explain(unsigned long code);

}  // namespace tlsplice::tls
