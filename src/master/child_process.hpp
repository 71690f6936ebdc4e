// A process beside the workers, as the master sees it: forked when it is due, buried and started again with
// the workers' back-off, replaced when it is to know something else, ended last. No client notices when it
// dies.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

#include "backoff.hpp"
#include "tlsplice/base/clock.hpp"
#include "tlsplice/base/log.hpp"

namespace tlsplice::master {

class ChildProcess {
 public:
  static constexpr base::Milliseconds kGrace{2'000};  // from SIGTERM to SIGKILL

  /// What the log calls it: "monitor" logs monitor_started, monitor_pid, monitor_died.
  explicit ChildProcess(std::string name) : name_(std::move(name)) {}

  bool runs() const { return process_ > 0; }
  /// When start() has something to do.
  base::Instant next_start() const { return runs() ? base::Instant::max() : due_; }
  /// If it does not run and its time has come. `body` is called in the child, with the master's process id,
  /// and must not return.
  void start_due(base::Instant now, base::Log& log, const std::function<void(pid_t)>& body);
  /// It is due at once; one that runs is told to end, for another one.
  void replace(base::Instant now);
  /// It has gone wrong: an untimely death.
  void kill() const;

  enum class Death : std::uint8_t { kNotOurs, kReplaced, kUntimely };
  /// In each case but the first it is due again; after an untimely death, which is logged, perhaps not at
  /// once.
  Death bury(pid_t process, int status, base::Instant now, base::Log& log);
  /// Ends it and waits for that. For a process that has SIGCHLD blocked.
  void end();

 private:
  std::string name_;
  pid_t process_ = -1;
  bool replaced_ = false;
  base::Instant started_;
  base::Instant due_;
  Backoff backoff_;
};

}  // namespace tlsplice::master
