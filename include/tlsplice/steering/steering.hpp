// The steering program in the kernel: loaded once for each listener, attached to its group of listening
// sockets, told which socket is whose. The master owns it; needs CAP_BPF and CAP_NET_ADMIN and Linux 5.17.
// Without a Steering connections are spread by the kernel's hash, and a closed socket loses its queue.
// What happens in the kernel, case by case: bpf/steering.bpf.c.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "tlsplice/base/result.hpp"
#include "tlsplice/steering/load.hpp"
#include "tlsplice/steering/maps.hpp"

namespace tlsplice::steering {

using Outcomes = base::SharedRows<tlsplice_steering>;

/// Which worker each CPU's connections go to under TLSPLICE_STEER_CPU, and where the workers run: the CPUs
/// that this process may use and that are there, in their order, one a worker.
struct CpuPlan {
  std::vector<unsigned> cpu_of_worker;
  std::vector<std::uint32_t> worker_of_cpu;  // every CPU that may come; TLSPLICE_STEER_NO_WORKER: not ours
  bool operator==(const CpuPlan&) const = default;
};
/// As it is now: one system call. CPUs come and go.
CpuPlan plan_cpus(std::size_t workers);

/// What one process of the service may run on from now on: one CPU. 0: the caller.
base::Result<void> stay_on(unsigned cpu, pid_t process = 0);

/// Takes the socket of a worker out of Steering::sockets(), which may be those of a program that another
/// process has loaded: a socket can be offered by one Steering at a time (EBUSY, reuseport_array_update_check
/// in kernel/bpf/reuseport_array.c). Does nothing where none was offered.
void withdraw(int sockets, std::size_t worker);

class Steering {
 public:
  struct Plan {
    std::size_t listeners = 0;
    std::size_t workers = 0;
    tlsplice_steering_mode mode = TLSPLICE_STEER_LEAST_LOADED;
  };

  /// Loads the program for every listener, over the maps `workers` and `steering`. The error says what to do,
  /// when something can be done.
  static base::Result<Steering> load(const Plan& plan, const Maps& maps);
  Steering(Steering&& other) noexcept;
  Steering& operator=(Steering&&) = delete;
  Steering(const Steering&) = delete;
  Steering& operator=(const Steering&) = delete;
  ~Steering();

  /// To the group that this listening socket is in, in place of a program that is there. Once for each
  /// listener.
  base::Result<void> attach(std::size_t listener, int socket);
  /// Connections may go to that socket from now on. It must listen in the group; it leaves by itself when it
  /// no longer listens.
  base::Result<void> offer(std::size_t listener, std::size_t worker, int socket);
  /// The map that a listener's sockets are entered in, for withdraw().
  int sockets(std::size_t listener) const;
  /// From now on under TLSPLICE_STEER_CPU. It must know no more CPUs than the machine had when this was
  /// loaded.
  base::Result<void> follow(const CpuPlan& cpus);

 private:
  struct Loaded;  // the skeleton of one listener's program
  explicit Steering(const Plan& plan);
  base::Result<void> load_one(std::size_t listener, const CpuPlan& cpus, const Maps& maps);

  Plan plan_;
  std::vector<std::unique_ptr<Loaded>> loaded_;
};

}  // namespace tlsplice::steering
