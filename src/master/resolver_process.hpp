// The resolver process as the master sees it: a child of its own (child_process.hpp) that looks up the names
// that are wanted and reports their addresses. What it says is checked; one that says what it never should is
// killed, and another one begins.
#pragma once

#include <poll.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "child_process.hpp"
#include "names.hpp"
#include "tlsplice/base/fd.hpp"

namespace tlsplice::master {

class ResolverProcess {
 public:
  /// What a process is started for. Another one replaces it.
  struct Task {
    Names::Set names;
    std::string user;
    policy::LogSettings log;
  };

  /// `abandon` is called in the child, first: everything of the master's goes. All references outlive it.
  ResolverProcess(Names& names, std::function<void()> abandon, base::Log& log, int log_fd)
      : names_(names), abandon_(std::move(abandon)), log_(log), log_fd_(log_fd) {}

  bool runs() const { return task_.has_value(); }
  /// The process for this task is there, or will be; none for no names.
  void step(Task task, base::Instant now);
  void watch(std::vector<pollfd>& watched) const;
  /// Reads what it has said; true when there is news.
  bool hear();
  /// False when that was another process.
  bool bury(pid_t process, int status, base::Instant now);
  void end() { process_.end(); }
  /// In a child: the channel is its parent's.
  void abandon() { channel_.reset(); }
  base::Instant next_deadline() const { return task_ ? process_.next_start() : base::Instant::max(); }

 private:
  [[noreturn]] void become_resolver(base::Fd channel, pid_t master);

  Names& names_;
  std::function<void()> abandon_;
  base::Log& log_;
  int log_fd_;
  ChildProcess process_{"resolver"};
  base::Fd channel_;
  std::optional<Task> task_;  // none: there is to be no process
};

}  // namespace tlsplice::master
