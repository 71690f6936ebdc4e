// Telling of the live flows, for `tlsplice flows`: a coroutine beside the flows, which goes through the list
// in turns.
#pragma once

#include "tlsplice/base/fd.hpp"
#include "tlsplice/session/live_flow.hpp"
#include "tlsplice/uring/ring.hpp"
#include "tlsplice/uring/task.hpp"

namespace tlsplice::worker {

/// Writes a row for each flow to `reader`, a non-blocking stream socket, and at last a row of zeros: without
/// it the list is not complete. Flows have their turns in between, and those that come and go meanwhile may
/// be there or not. A reader that does not read is left after five seconds.
uring::Task<void> list_flows(uring::Ring& ring, uring::Stop& stop, session::LiveFlows& flows, base::Fd reader,
                             std::size_t worker);

}  // namespace tlsplice::worker
