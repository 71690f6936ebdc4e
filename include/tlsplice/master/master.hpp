// The master: owns the listening sockets, starts one worker a slot, replaces those that die, passes on the
// signals. It never touches a client's byte. The monitor process is kept alive in the same way.
//
//   SIGTERM  drain: no new connections, running flows go on for at most drain_timeout, then the service ends
//   SIGINT   end at once: every flow is reset
//   SIGUSR1  log the counters
//   SIGUSR2  open the access log again, for logrotate(8)
#pragma once

#include "tlsplice/base/log.hpp"
#include "tlsplice/master/prepare.hpp"
#include "tlsplice/policy/config.hpp"

namespace tlsplice::master {

/// Serves until told to end; returns the exit status. To be called from a process with one thread.
int run(const policy::Config& config, Prepared prepared, base::Log log);

}  // namespace tlsplice::master
