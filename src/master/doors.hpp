// The listening sockets of all workers of a generation, kept by the master so that no queue dies with its
// worker, and the steering program in front of them. A generation shares the sockets of the one before where
// the address is the same, so no queue dies with a generation either. Without the program (no privilege, old
// kernel) the kernel's hash spreads connections and nothing here but shut() is different.
#pragma once

#include <optional>
#include <vector>

#include "bequest.hpp"
#include "numbers.hpp"
#include "service_manager.hpp"
#include "tlsplice/base/fd.hpp"
#include "tlsplice/base/log.hpp"
#include "tlsplice/master/prepare.hpp"
#include "tlsplice/steering/steering.hpp"

namespace tlsplice::master {

class Doors {
 public:
  /// Opens every listener once for each worker, with the sockets of `before` (null: none) or with given ones
  /// where those listen there, and loads the steering program if it can be had. Nothing changes for anybody
  /// yet.
  static base::Result<Doors> open(const Prepared& prepared, std::size_t workers, policy::Steering steering,
                                  const Numbers& numbers, const Doors* before, GivenSockets& given);
  /// Puts the program in front, in place of that of `before`; says once if there is none. What is queued for
  /// workers that there are no longer goes to those that there are.
  void enter(policy::Steering steering, Doors* before, base::Log& log);

  /// For a successor of this process: where it listens, and with what.
  void bequeath(Bequest& bequest) const;
  /// Of a predecessor, which has closed nothing.
  static base::Result<Doors> adopt(const Bequest& bequest, std::size_t workers, int loads);
  /// Of workers that retire: none.
  static base::Result<Doors> adopt(std::size_t workers, int loads);

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
  base::Result<std::vector<base::Fd>> listen_everywhere(const Prepared& prepared, const Doors* before,
                                                        GivenSockets& given);
  base::Result<base::Fd> listen_at(const net::Address& address, std::size_t listener, const Doors* before,
                                   GivenSockets& given);
  base::Result<void> map_rows(const Prepared& prepared, const Numbers& numbers);
  base::Result<void> load_steering(policy::Steering mode, const Numbers& numbers);
  base::Result<void> steer(Doors* before);
  int steering_sockets(std::size_t listener) const;
  void withdraw(std::size_t listener);
  base::Result<void> offer(std::size_t worker);
  base::Result<void> listen_again(std::size_t worker);
  std::optional<std::size_t> listener_at(const net::Address& address) const;

  std::vector<net::Address> addresses_;         // as configured
  std::vector<std::vector<base::Fd>> sockets_;  // [worker][listener]
  std::vector<bool> alone_;  // [listener]: one socket is all there can be, so the workers share it
  std::vector<bool> shut_;
  std::optional<steering::Steering> steering_;
  std::vector<base::Fd> adopted_steering_;  // [listener]: the map of sockets of a predecessor's program
  base::Error why_unsteered_;
  steering::Loads loads_;
  steering::Outcomes outcomes_;
};

}  // namespace tlsplice::master
