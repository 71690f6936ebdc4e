// The listening sockets of all workers, kept by the master for the service's life so that no queue dies with
// its worker, and the steering program in front of them. Without the program (no privilege, old kernel) the
// kernel's hash spreads connections and nothing here but shut() is different.
#pragma once

#include <optional>
#include <vector>

#include "numbers.hpp"
#include "tlsplice/base/fd.hpp"
#include "tlsplice/base/log.hpp"
#include "tlsplice/master/prepare.hpp"
#include "tlsplice/steering/steering.hpp"

namespace tlsplice::master {

class Doors {
 public:
  /// Opens every listener once for each worker, and puts the steering program in front if it can be had; says
  /// once which of both it is.
  static base::Result<Doors> open(const Prepared& prepared, std::size_t workers, policy::Steering steering,
                                  const Numbers& numbers, base::Log& log);

  bool steered() const { return steering_.has_value(); }
  steering::WorkerLoad load(std::size_t worker) const { return steering::WorkerLoad(loads_[worker]); }
  const steering::Outcomes& outcomes() const { return outcomes_; }
  const steering::Loads& loads() const { return loads_; }

  /// In the worker: its own sockets, in the order of the configuration. All else that is held here is closed,
  /// except the shared rows.
  std::vector<base::Fd> take(std::size_t worker);
  /// In another child: all but the shared rows is closed.
  void abandon();
  /// Our copies: each socket ends when its worker closes it.
  void clear();

  /// Moves what is queued for a worker to the others, also when it is stopped and holds the sockets still;
  /// nothing new gets there until reopen(). False when there is no program to move it: it would be reset.
  bool shut(std::size_t worker);
  base::Result<void> reopen(std::size_t worker);
  /// CPUs have come or gone.
  base::Result<void> follow(const steering::CpuPlan& cpus);
  bool is_shut(std::size_t worker) const { return shut_[worker]; }

 private:
  Doors() = default;
  base::Result<void> map_rows(const Prepared& prepared, const Numbers& numbers);
  base::Result<void> steer(policy::Steering mode, const Numbers& numbers);
  base::Result<void> offer(std::size_t worker);

  std::vector<std::vector<base::Fd>> sockets_;  // [worker][listener]
  std::vector<bool> shut_;
  std::optional<steering::Steering> steering_;
  steering::Loads loads_;
  steering::Outcomes outcomes_;
};

}  // namespace tlsplice::master
