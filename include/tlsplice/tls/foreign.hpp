// Connections of a library that calls OpenSSL itself, as the health checks' HTTP client does. What must be
// known of OpenSSL for that, so that this room stays the only one that does.
#pragma once

#include "tlsplice/tls/context.hpp"

struct ssl_ctx_st;

namespace tlsplice::tls {

/// Gives the library's context what a peer can see of ours: protocols, suites, groups, options, no
/// resumption. Like ours it validates no certificate. For contexts of clients.
void configure(ssl_ctx_st* theirs, const Context& ours);

}  // namespace tlsplice::tls
