// How one configuration follows another and no client notices: a generation is a configuration with
// everything that serves it, immutable from its first worker on. The next one is made beside the one that
// serves, shares its listening sockets, and takes over when all of its workers are ready; the old workers
// then take nothing new and end with their last flow. One that fails on its way changes nothing.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "tlsplice/base/log.hpp"
#include "tlsplice/master/prepare.hpp"
#include "tlsplice/observe/past.hpp"
#include "workers.hpp"

namespace tlsplice::master {

struct Generation {
  std::uint64_t number = 0;  // 1, 2, ...
  policy::Config config;
  Prepared prepared;
  base::Log log;
  std::optional<Workers> workers;  // point to all of the above
};

class Generations {
 public:
  using Mistakes = std::vector<policy::Mistake>;
  /// What is to serve: checked and prepared.
  struct Next {
    policy::Config config;
    Prepared prepared;
  };
  /// Called when its turn has come. No mistakes in place of a configuration: what serves is as it should be.
  using Load = std::function<std::expected<Next, Mistakes>()>;
  /// What became of it; no mistakes: it serves.
  using Done = std::function<void(const Mistakes&)>;
  struct Surroundings {
    /// What else of the service the configuration concerns.
    std::function<base::Result<void>(const policy::Config&)> prepare;
    /// It will not serve: what was prepared for it goes. Also after a prepare() that failed.
    std::function<void()> undo;
    /// It takes the place of the current one, if there is one, which is still that.
    std::function<void(const Generation&)> entering;
    /// It serves now.
    std::function<void(Generation&)> entered;
    /// One has ended, or failed: its last worker is gone.
    std::function<void()> left;
    /// In each child, first.
    std::function<void()> on_fork;
  };

  /// `given`: for the first generation.
  Generations(int log_fd, GivenSockets given, Surroundings surroundings);
  Generations(const Generations&) = delete;
  Generations& operator=(const Generations&) = delete;

  /// What a predecessor of this process has left serves until the first change has succeeded.
  base::Result<void> adopt(const Bequest& bequest);
  /// For a successor. The table holds what `past` is made of: it must live until then.
  base::Result<Bequest> bequeath(std::optional<observe::CounterTable>& past) const;

  /// One after the other; the first one starts the service.
  void change(Load load, Done done);
  /// Does what is due.
  void step();
  base::Instant next_deadline() const;
  /// Readable when a worker is ready; -1: none is awaited.
  int ready() const { return next_ ? next_->workers->ready() : -1; }

  /// Null before the first one serves.
  Generation* current() { return current_.get(); }
  const Generation* current() const { return current_.get(); }
  /// Visits all workers: those that serve, those that retire.
  void each(const std::function<void(const Workers&)>& visit) const;
  /// Visits all configurations: that of these workers, and one that is on its way.
  void each_config(const std::function<void(const policy::Config&)>& visit) const;
  /// The rows for the past of the current table, as of now. Otherwise they are behind by kFold at most.
  void fold();

  /// Of all generations.
  void end_flows(std::string_view group, std::string_view target);
  /// Of those that retire: what the listener forwarded to the group.
  void end_share(std::string_view listener, std::string_view group);
  /// False when that is no worker. One that dies on the way to serve ends the change.
  bool bury(pid_t process, int status);
  /// Whether a worker ended untimely of a generation that will not replace it.
  bool failed() const { return failed_; }
  void reopen_access_log();
  /// The end of the service: no more changes, all workers get the signal.
  void end(int signal);
  void kill() const;
  bool anyone_alive() const;
  /// How many have been replaced and still have a worker.
  std::size_t retired() const { return old_.size(); }
  /// In a child that is no worker: it keeps no socket, no channel and no key.
  void abandon();

 private:
  static constexpr base::Milliseconds kFold{500};
  // From a change's first worker to its last one that is ready.
  static constexpr base::Milliseconds kReadyAtMost{60'000};
  // How often to look whether those who retire have closed their doors, and for how long: one that hangs, or
  // is stopped, is not waited for.
  static constexpr base::Milliseconds kLook{2};
  static constexpr base::Milliseconds kLookAtMost{1000};

  struct Change {
    Load load;
    Done done;
  };
  base::Result<std::unique_ptr<Generation>> adopt_one(const Bequest& bequest, const Bequest::Generation& left,
                                                      bool readable) const;
  void begin_change();
  base::Result<void> make_next(Next loaded);
  void enter();
  void finish();
  void give_up_next(int signal, const char* why);
  void refuse(const Mistakes& mistakes);
  void bury_generations();
  void give_up_others(const Generation* own);

  int log_fd_;
  GivenSockets given_;
  Surroundings surroundings_;
  std::uint64_t flow_hash_seed_ = 0;
  std::uint64_t made_ = 0;
  std::deque<Change> changes_;  // the first one is under way when there is a next_, or done_
  Done done_;                   // of one that serves, as soon as nobody else does
  base::Instant look_until_{};
  base::Instant ready_until_{};  // of next_
  std::unique_ptr<Generation> next_;
  std::unique_ptr<Generation> current_;
  std::vector<std::unique_ptr<Generation>> old_;  // retired, or failed and ending
  observe::Past past_;                            // of those whose last worker has ended
  base::Instant fold_at_ = base::Instant::max();
  bool ending_ = false;
  bool failed_ = false;
};

}  // namespace tlsplice::master
