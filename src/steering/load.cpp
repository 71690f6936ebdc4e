#include "tlsplice/steering/load.hpp"

#include <unistd.h>

namespace tlsplice::steering {
namespace {

/// steady_clock is CLOCK_MONOTONIC here, which is what bpf_ktime_get_ns() reads.
__u64 nanoseconds(base::Instant instant) {
  return static_cast<__u64>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(instant.time_since_epoch()).count());
}

}  // namespace

void WorkerLoad::begin(base::Instant now) {
  base::shared_set(row_->draining, 0);
  base::shared_set(row_->process, static_cast<__u64>(::getpid()));
  beat(now, 0);
}

void WorkerLoad::beat(base::Instant now, std::size_t flows) {
  base::shared_set(row_->active, flows);
  base::shared_set(row_->heartbeat_ns, nanoseconds(now));
}

void WorkerLoad::drain() {
  base::shared_set(row_->draining, 1);
}

void WorkerLoad::closed_doors() {
  base::shared_set(row_->draining, kClosedDoors);
}

void WorkerLoad::end() {
  base::shared_set(row_->heartbeat_ns, 0);
  base::shared_set(row_->active, 0);
  base::shared_set(row_->draining, 0);
}

}  // namespace tlsplice::steering
