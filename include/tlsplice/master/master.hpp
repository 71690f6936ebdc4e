// The master: owns the listening sockets, keeps workers and monitor alive, passes on the signals, lets one
// configuration follow another. It never touches a client's byte.
//
//   SIGHUP   reload: the configuration is read anew; what is wrong with it changes nothing
//   SIGTERM  drain: no new connections, running flows go on for at most drain_timeout, then the service ends
//   SIGINT   end at once: every flow is reset
//   SIGUSR1  log the counters
//   SIGUSR2  open the access log again, for logrotate(8)
#pragma once

#include "tlsplice/master/prepare.hpp"

namespace tlsplice::master {

/// Serves until told to end; returns the exit status. `log_fd` is where the log goes. To be called from a
/// process with one thread.
int run(Loaded loaded, int log_fd);

}  // namespace tlsplice::master
