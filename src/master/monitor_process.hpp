// The monitor process as the master sees it: started beside the workers, buried and started again with their
// back-off, ended last. No client notices when it dies.
#pragma once

#include <sys/types.h>

#include "backoff.hpp"
#include "tlsplice/base/clock.hpp"
#include "tlsplice/base/fd.hpp"
#include "tlsplice/base/log.hpp"
#include "tlsplice/master/prepare.hpp"
#include "tlsplice/policy/config.hpp"
#include "workers.hpp"

namespace tlsplice::master {

class MonitorProcess {
 public:
  static constexpr base::Milliseconds kGrace{2'000};  // from SIGTERM to SIGKILL

  MonitorProcess(Workers& workers, Prepared& prepared, base::Log log)
      : workers_(workers), prepared_(prepared), log_(log) {}

  /// Binds the address. Without one, and where the default one is not to be had, there will be no process;
  /// the log then says why.
  base::Result<void> open(const policy::MetricsSettings& settings);
  /// In a child: the socket is its parent's.
  void abandon() { listening_.reset(); }

  /// If there is to be one, it does not run, and its time has come.
  void start_due(base::Instant now);
  /// False when that was another process; else it is counted and due again, after a pause.
  bool bury(pid_t process, int status, base::Instant now);
  /// Ends it and waits for that. For a process that has SIGCHLD blocked.
  void end();

  /// When start_due() has something to do.
  base::Instant next_start() const { return !listening_ || process_ > 0 ? base::Instant::max() : due_; }

 private:
  [[noreturn]] void become_monitor(pid_t master);

  Workers& workers_;
  Prepared& prepared_;
  base::Log log_;
  base::WallTime service_started_ = std::chrono::system_clock::now();
  base::Fd listening_;
  pid_t process_ = -1;
  base::Instant started_;
  base::Instant due_;
  Backoff backoff_;
};

}  // namespace tlsplice::master
