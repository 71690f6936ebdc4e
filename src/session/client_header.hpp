// How a trusted proxy tells who its client is: the PROXY protocol's header comes before anything else. Not a
// byte behind it is read, which is the TLS handshake's and the kernel's to read.
#pragma once

#include <optional>

#include "tlsplice/base/result.hpp"
#include "tlsplice/net/address.hpp"
#include "tlsplice/uring/ring.hpp"
#include "tlsplice/uring/task.hpp"

namespace tlsplice::session {

/// The client that the header names; nothing when it names none, and the peer is the client. Fails with
/// kProtocol (no header), kTimedOut, kClosed, kReset or kStopped.
uring::Task<base::Result<std::optional<net::Address>>> receive_header(uring::Ring& ring, uring::Stop& stop,
                                                                      int socket, base::Milliseconds limit);

}  // namespace tlsplice::session
