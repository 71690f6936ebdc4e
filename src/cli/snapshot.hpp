// The numbers of a running service at one moment, asked for at its admin socket: the rows of all workers (see
// tlsplice/wire/), summed where they are of one listener, one target or the service.
#pragma once

#include <string>
#include <vector>

#include "tlsplice/base/clock.hpp"
#include "tlsplice/base/result.hpp"
#include "tlsplice/wire/counters.h"
#include "tlsplice/wire/numbers.h"
#include "tlsplice/wire/steering.h"

namespace tlsplice::cli {

struct Snapshot {
  base::Instant at;
  std::vector<tlsplice_worker_load> workers;
  std::vector<tlsplice_listener> listeners;  // in the order of the configuration
  std::vector<tlsplice_target> targets;
  tlsplice_counters counters{};
};

base::Result<Snapshot> take_snapshot(const std::string& admin_socket);

}  // namespace tlsplice::cli
