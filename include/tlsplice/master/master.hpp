// The master: owns the listening sockets, keeps workers and monitor alive, passes on the signals, lets one
// configuration follow another. It never touches a client's byte.
//
//   SIGHUP   reload: the configuration is read anew; what is wrong with it changes nothing
//   SIGTERM  drain: no new connections, running flows go on for at most drain_timeout, then the service ends
//   SIGINT   end at once: every flow is reset
//   SIGUSR1  log the counters, and open the access log again, for logrotate(8)
//   SIGUSR2  upgrade: the program where this one was started from goes on in its place
#pragma once

#include <filesystem>
#include <optional>

#include "tlsplice/master/prepare.hpp"

namespace tlsplice::master {

/// Serves what stands in the file until told to end; returns the exit status. `loaded` is that, if it could
/// be loaded: only when somebody_serves() may it be missing. `log_fd` is where the log goes. To be called
/// from a process with one thread.
int run(const std::filesystem::path& file, std::optional<Loaded> loaded, int log_fd);

/// Whether a predecessor of this program has left its workers to this process: they must not die of a
/// mistake.
bool somebody_serves();

}  // namespace tlsplice::master
