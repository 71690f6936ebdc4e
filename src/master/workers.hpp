// The worker processes: one slot each, started, watched, replaced when they die, relieved of their queues
// when they are stuck. Their listening sockets are the Doors'; what the service as a whole is doing, the
// Master's.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "backoff.hpp"
#include "doors.hpp"
#include "numbers.hpp"
#include "privileges.hpp"
#include "tlsplice/base/clock.hpp"
#include "tlsplice/base/log.hpp"
#include "tlsplice/master/prepare.hpp"
#include "tlsplice/observe/access_log.hpp"
#include "tlsplice/observe/counters.hpp"
#include "tlsplice/policy/config.hpp"
#include "watch.hpp"

namespace tlsplice::master {

/// What the service as a whole is doing.
enum class State : std::uint8_t { kStarting, kServing, kEnding };

/// One place for a worker, and who holds it now.
///
///   starting --(forked)--> running --(died)--> pausing --(pause over)--> starting
///                             `------(drain, stop: exited)--> gone
struct Slot {
  pid_t process = -1;  // -1: pausing or gone
  base::Fd channel;    // our end of the one to this worker (admin room)
  base::Instant started;
  base::Instant due;  // of the next start, when pausing
  Backoff backoff;
  Watch watch;
  bool stuck = false;  // and we said so
};

class Workers {
 public:
  Workers(const policy::Config& config, const Prepared& prepared, base::Log log,
          observe::CounterTable counters, Doors doors, Numbers numbers, std::optional<Identity> identity);

  /// Everything that can fail for reasons of the machine, before the first worker.
  base::Result<void> open();
  /// Readable when a worker has begun to accept.
  int ready() const { return ready_.get(); }
  bool all_are_ready();

  /// What only the master may hold: run in each child first.
  void on_fork(std::function<void()> give_up) { give_up_ = std::move(give_up); }
  /// In a child that is no worker: all that is held here is closed, except the shared rows.
  void abandon();
  void start_due();
  /// Opens the access log again, for all workers: after logrotate(8) has renamed it. When that fails
  /// everybody goes on with the old one.
  void reopen_access_log();
  /// A child has ended.
  enum class Death : std::uint8_t { kNotOurs, kInOrder, kUntimely };
  Death bury(pid_t process, int status, State state);
  /// Who is stuck, and who no longer is; at most once in a while. Only while all is well otherwise: at the
  /// start and at the end workers are watched by their processes' ends.
  void look();
  /// Sends the signal to all, after the last copy of their listening sockets here is closed.
  void end(int signal);
  void signal_all(int signal) const;

  bool anyone_alive() const;
  /// When start_due() has something to do, when look() has.
  base::Instant next_start() const;
  base::Instant next_look() const { return next_look_; }

  std::size_t count() const { return slots_.size(); }
  const Slot& slot(std::size_t index) const { return slots_[index]; }
  const observe::CounterTable& counters() const { return counters_; }
  const steering::Loads& loads() const { return doors_.loads(); }
  const steering::Outcomes& outcomes() const { return doors_.outcomes(); }
  const std::optional<Identity>& identity() const { return identity_; }

 private:
  bool start(std::size_t index);
  [[noreturn]] void become_worker(std::size_t index, base::Fd channel, pid_t master);
  observe::AccessLog access_log();
  void stay_on_cpu(std::size_t index, pid_t process);
  void follow_cpus();
  void note_stuck(std::size_t index);
  void note_back(std::size_t index);
  void give_queue_away(std::size_t index);

  const policy::Config& config_;
  const Prepared& prepared_;
  base::Log log_;
  observe::CounterTable counters_;
  Doors doors_;
  Numbers numbers_;
  std::optional<Identity> identity_;
  steering::CpuPlan cpus_;
  std::uint64_t flow_hash_seed_ = 0;
  base::Fd ready_;
  base::Fd access_log_;  // empty: none
  std::uint64_t ready_count_ = 0;
  std::vector<Slot> slots_;
  base::Instant next_look_{};
  std::function<void()> give_up_ = [] {};
};

}  // namespace tlsplice::master
