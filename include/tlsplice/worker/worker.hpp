// A worker: one process, one ring. Once the master says so, it accepts from its own listening sockets, runs a
// session for each connection, says that it lives and how loaded it is. Signals:
//
//   SIGHUP   retire: the listening sockets' queues are emptied, running flows go on to their ends
//   SIGTERM  drain: the same, but after drain_timeout the flows that are left are cut
//   SIGQUIT  end at once
#pragma once

#include <cstdint>
#include <vector>

#include "tlsplice/base/fd.hpp"
#include "tlsplice/base/log.hpp"
#include "tlsplice/observe/access_log.hpp"
#include "tlsplice/observe/counters.hpp"
#include "tlsplice/session/session.hpp"
#include "tlsplice/steering/steering.hpp"
#include "tlsplice/tls/context.hpp"

namespace tlsplice::worker {

/// A listening socket of this worker, and what to do with its connections.
struct Door {
  base::Fd listener;
  const session::Service* service = nullptr;
};

/// Everything that the master hands to a worker by fork. References outlive the process.
struct Setup {
  std::size_t index = 0;
  std::vector<Door> doors;
  base::Log log;
  const observe::CounterTable& counters;
  steering::WorkerLoad load;
  const steering::Outcomes& steering;
  const targets::HealthTable& health;
  const tls::Context& target_context;
  const ktls::Support& kernel;
  std::uint64_t records_per_key = ktls::kRecordsPerKeyMax;
  std::uint64_t flow_hash_seed = 0;
  std::uint32_t max_flows = 0;  // over all workers
  base::Milliseconds drain_timeout{};
  int ready = -1;      // an eventfd: the worker adds one when it waits for admin::Order::kServe
  base::Fd channel{};  // the worker's end of its admin::Channel
  observe::AccessLog access_log{};
};

/// Runs until drained or told to end; returns the exit status. The signals must be blocked by the caller.
int run(Setup setup);

}  // namespace tlsplice::worker
