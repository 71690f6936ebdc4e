// The monitor process as the master sees it: a child of its own (child_process.hpp) that is replaced with
// each generation.
#pragma once

#include <sys/types.h>

#include <optional>

#include "child_process.hpp"
#include "generations.hpp"
#include "tlsplice/base/fd.hpp"
#include "tlsplice/base/log.hpp"
#include "tlsplice/master/prepare.hpp"
#include "tlsplice/policy/config.hpp"

namespace tlsplice::master {

class MonitorProcess {
 public:
  /// Outlives it.
  explicit MonitorProcess(Generations& generations) : generations_(generations) {}

  /// Binds the address where that configuration wants it, unless it is bound; adopt() makes it ours. Without
  /// one, and where the default one is not to be had (the log then says why), there is a process only if a
  /// group's health is checked.
  base::Result<void> prepare(const policy::MetricsSettings& settings, base::Log& log);
  /// That configuration will not serve.
  void forget_next() { next_listening_.reset(); }
  /// That generation serves now: the process that shows another one is replaced.
  void adopt(Generation& generation);
  /// In a child: the socket is its parent's.
  void abandon() {
    listening_.reset();
    next_listening_.reset();
  }

  /// If there is to be one, it does not run, and its time has come.
  void start_due(base::Instant now);
  /// False when that was another process; else it is counted and due again, after a pause.
  bool bury(pid_t process, int status, base::Instant now);
  /// Ends it and waits for that. For a process that has SIGCHLD blocked.
  void end() { process_.end(); }

  /// When start_due() has something to do.
  base::Instant next_start() const { return wanted() ? process_.next_start() : base::Instant::max(); }

 private:
  bool wanted() const;
  [[noreturn]] void become_monitor(pid_t master);
  base::Log& log() const { return generation_->log; }

  Generations& generations_;
  Generation* generation_ = nullptr;  // whose numbers it shows
  base::WallTime service_started_ = std::chrono::system_clock::now();
  std::optional<policy::HostPort> address_;  // of listening_
  base::Fd listening_;
  std::optional<policy::HostPort> next_address_;
  base::Fd next_listening_;
  ChildProcess process_{"monitor"};
};

}  // namespace tlsplice::master
