// What a flow leaves in the rows of its listener and its target; record.cpp counts it for the worker as a
// whole.
#pragma once

#include "tlsplice/observe/record.hpp"

namespace tlsplice::observe {

/// The counter of the reason why a client's handshake failed, from the end and what the record says.
ListenerCounter negotiation_error_of(const FlowRecord& record);

/// Whether we end such a flow by resetting a side that had not reset.
bool resets(End end);

void start_rows(Counters& counters, const FlowRecord& record);
void move_rows(Counters& counters, const FlowRecord& record, bool from_client, std::uint64_t bytes,
               std::uint64_t spliced);
void end_rows(Counters& counters, const FlowRecord& record);

}  // namespace tlsplice::observe
