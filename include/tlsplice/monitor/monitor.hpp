// The monitor process: checks the targets' health, and answers over HTTP what the numbers are, apart from the
// workers, so that nothing that happens here touches a flow. The master starts it, has bound its socket, and
// replaces it when it dies. It has no privileges and none of the keys, reads the numbers of the others and
// writes those of the targets' health.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "tlsplice/base/fd.hpp"
#include "tlsplice/base/log.hpp"
#include "tlsplice/monitor/metrics.hpp"

namespace tlsplice::monitor {

/// A monitor's share of what the master has.
struct Setup {
  base::Fd listening;  // TCP, non-blocking; empty: nobody asks over HTTP
  Numbers numbers;
  std::span<const targets::WatchedGroup> groups;
  base::Log log;
};

/// Why health checks over HTTP or HTTPS cannot be made on this machine, for people; empty: they can. The
/// library they need is looked for in a process of its own: the caller's stays without it.
std::optional<std::string> why_no_http_checks(bool https);

/// Checks and answers until SIGTERM or SIGQUIT, which the process must have blocked; returns the exit status.
int run(Setup setup);

}  // namespace tlsplice::monitor
