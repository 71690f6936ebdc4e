// The live flows of a running service: asked for at its admin socket, told by its workers, each on a stream
// of its own. The master never sees them.
#pragma once

#include <string>
#include <vector>

#include "tlsplice/base/result.hpp"
#include "tlsplice/wire/flows.h"

namespace tlsplice::cli {

struct LiveFlows {
  std::vector<tlsplice_flow> flows;
  std::vector<std::string> missing;  // for people: workers that did not tell all
};

/// Waits for a worker that says nothing for two seconds at most.
base::Result<LiveFlows> live_flows(const std::string& admin_socket);

}  // namespace tlsplice::cli
