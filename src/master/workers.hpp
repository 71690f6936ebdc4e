// The worker processes of a generation: one slot each, started, watched, replaced when they die, relieved of
// their queues when they are stuck. Their listening sockets are the Doors'; which generation serves, and what
// the service as a whole is doing, is the Generations' to say.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "backoff.hpp"
#include "bequest.hpp"
#include "doors.hpp"
#include "numbers.hpp"
#include "privileges.hpp"
#include "tlsplice/admin/channel.hpp"
#include "tlsplice/base/clock.hpp"
#include "tlsplice/base/log.hpp"
#include "tlsplice/master/prepare.hpp"
#include "tlsplice/observe/access_log.hpp"
#include "tlsplice/observe/counters.hpp"
#include "tlsplice/policy/config.hpp"
#include "watch.hpp"

namespace tlsplice::master {

/// What a generation of workers is doing.
///
///   starting --(all ready, enter)--> serving --(the next one entered)--> retired
///       `--(end)--> ending <--(end)--'  <--(end)--------------------------'
enum class State : std::uint8_t { kStarting, kServing, kRetired, kEnding };

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
  /// Everything that can fail for reasons of the machine, before the first worker. Nobody who serves now
  /// notices: what they have is shared (`before`, null: nobody). The references outlive this.
  static base::Result<Workers> open(const policy::Config& config, const Prepared& prepared, base::Log log,
                                    std::uint64_t flow_hash_seed, const Workers* before, GivenSockets& given);

  /// For a successor of this process; serving ones leave their listening sockets as well (doors()).
  Bequest::Generation bequeath() const;
  const Doors& doors() const { return doors_; }
  /// Of a predecessor: those that serve, or, of `left`, some that retire. They are not replaced when they
  /// die. Without `readable` tables what they count is not seen.
  static base::Result<Workers> adopt(const Bequest& bequest, const Bequest::Generation& left, bool readable,
                                     const policy::Config& config, const Prepared& prepared, base::Log log);

  /// Readable when a worker waits to serve.
  int ready() const { return ready_.get(); }
  bool all_are_ready();
  /// From starting to serving: the numbers and the steering program become ours, and the workers accept.
  void enter(Workers* before);
  /// From serving to retired: the workers take nothing new and end with their last flow.
  void retire();
  /// Whether nobody accepts any more, of those who retire.
  bool all_have_closed() const;
  /// To ending: our copies of the listening sockets are closed, then the signal goes to all.
  void end(int signal);

  /// What only the master may hold: run in each child first.
  void on_fork(std::function<void()> give_up) { give_up_ = std::move(give_up); }
  /// In a child that is not of these: all that is held here is closed, except the shared rows.
  void abandon();
  /// Unless they retire or end.
  void start_due();
  /// Opens the access log again, for all workers: after logrotate(8) has renamed it. When that fails
  /// everybody goes on with the old one.
  void reopen_access_log();
  /// A child has ended.
  enum class Death : std::uint8_t { kNotOurs, kInOrder, kUntimely };
  Death bury(pid_t process, int status);
  /// Who is stuck, and who no longer is; at most once in a while. Only while they serve: otherwise workers
  /// are watched by their processes' ends.
  void look();
  void signal_all(int signal) const;
  /// In all workers.
  void end_flows(std::string_view group, std::string_view target);
  void end_share(std::string_view listener, std::string_view group);

  bool anyone_alive() const;
  /// When start_due() or look() has something to do.
  base::Instant next_deadline() const;

  std::size_t count() const { return slots_.size(); }
  const Slot& slot(std::size_t index) const { return slots_[index]; }
  const observe::CounterTable& counters() const { return counters_; }
  const targets::HealthTable& health() const { return health_; }
  const steering::Loads& loads() const { return doors_.loads(); }
  const steering::Outcomes& outcomes() const { return doors_.outcomes(); }
  const std::optional<Identity>& identity() const { return identity_; }

 private:
  Workers(const policy::Config& config, const Prepared& prepared, base::Log log, std::uint64_t flow_hash_seed,
          observe::CounterTable counters, targets::HealthTable health, Doors doors, Numbers numbers,
          std::optional<Identity> identity);
  base::Result<void> open_descriptors();
  bool start(std::size_t index);
  [[noreturn]] void become_worker(std::size_t index, base::Fd channel, pid_t master);
  observe::AccessLog access_log();
  void stay_on_cpu(std::size_t index, pid_t process);
  void follow_cpus();
  void serve(std::size_t index);
  void tell_all(admin::Order order, std::size_t number);
  void forget_backing();
  void note_stuck(std::size_t index);
  void note_back(std::size_t index);
  void give_queue_away(std::size_t index);

  const policy::Config& config_;
  const Prepared& prepared_;
  base::Log log_;
  State state_ = State::kStarting;
  bool adopted_ = false;
  observe::CounterTable counters_;
  targets::HealthTable health_;
  Doors doors_;
  Numbers numbers_;
  std::optional<Identity> identity_;
  steering::CpuPlan cpus_;
  std::uint64_t flow_hash_seed_;
  base::Fd ready_;
  base::Fd access_log_;  // empty: none
  std::uint64_t ready_count_ = 0;
  std::vector<Slot> slots_;
  base::Instant next_look_{};
  std::function<void()> give_up_ = [] {};
};

}  // namespace tlsplice::master
