// What a worker says about itself to the steering program, through its row of the mapped array `workers`:
// that it lives, how many flows it has, which of the connections given to it it has seen, that it drains. The
// steering program reads it for each new connection (bpf/steering.bpf.c). Where there is none, the rows are
// plain shared memory and the master alone reads the heartbeat.
#pragma once

#include <cstddef>

#include "tlsplice/base/clock.hpp"
#include "tlsplice/base/shared_rows.hpp"
#include "tlsplice/wire/steering.h"

namespace tlsplice::steering {

using Loads = base::SharedRows<tlsplice_worker_load>;

class WorkerLoad {
 public:
  explicit WorkerLoad(tlsplice_worker_load& row) : row_(&row) {}

  // By the worker.

  /// A new worker on this row. What was given to its predecessor and is still queued stays unseen.
  void begin(base::Instant now);
  /// Once a round of the loop: a few stores, no system call.
  void beat(base::Instant now, std::size_t flows);
  void drain();
  /// Draining, and the last listening socket is closed.
  void closed_doors();
  void accepted() { base::shared_add(row_->accepted); }
  void handshakes(__u64 count) { base::shared_set(row_->handshakes, count); }
  /// Connections given to this worker, ever. To be read before the listening sockets are emptied.
  __u64 picked() const { return base::shared_get(row_->picked); }
  /// All of `picked` are among these flows or will never come.
  void seen(__u64 picked, std::size_t flows) {
    base::shared_set(row_->active, flows);
    base::shared_set(row_->picked_seen, picked);
  }
  bool all_seen() const { return picked() == base::shared_get(row_->picked_seen); }

  // By the master.

  __u64 heartbeat() const { return base::shared_get(row_->heartbeat_ns); }
  bool has_closed_doors() const { return base::shared_get(row_->draining) == kClosedDoors; }
  void restarted() { base::shared_add(row_->restarts); }
  /// Nobody is there any more.
  void end();
  /// Whether the listening sockets are shut: the program looks elsewhere at once.
  void close(bool closed) { base::shared_set(row_->closed, closed ? 1U : 0U); }

 private:
  static constexpr __u64 kClosedDoors = 2;
  tlsplice_worker_load* row_;
};

}  // namespace tlsplice::steering
