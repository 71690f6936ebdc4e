// The counters of all workers in one piece of shared memory, made by the master before it forks. Each slot
// has exactly one writer, so a relaxed load and store is enough; slots stand on cache lines of their own.
#pragma once

#include <cstddef>

#include "tlsplice/base/log.hpp"
#include "tlsplice/base/result.hpp"
#include "tlsplice/wire/counters.h"

namespace tlsplice::observe {

using Counter = __u64 tlsplice_counters::*;

/// One worker's slot, by reference. Writing is for that worker only.
class Counters {
 public:
  explicit Counters(tlsplice_counters& slot) : slot_(&slot) {}

  void add(Counter counter, __u64 n = 1) { set(counter, get(counter) + n); }
  void subtract(Counter counter, __u64 n = 1) { set(counter, get(counter) - n); }
  __u64 get(Counter counter) const { return __atomic_load_n(&(slot_->*counter), __ATOMIC_RELAXED); }
  void set(Counter counter, __u64 value) { __atomic_store_n(&(slot_->*counter), value, __ATOMIC_RELAXED); }

 private:
  tlsplice_counters* slot_;
};

/// Owns the mapping. Inherited by fork, gone with the last process.
class CounterTable {
 public:
  static base::Result<CounterTable> create(std::size_t workers);
  CounterTable(CounterTable&& other) noexcept;
  CounterTable& operator=(CounterTable&&) = delete;
  CounterTable(const CounterTable&) = delete;
  ~CounterTable();

  std::size_t workers() const { return workers_; }
  Counters worker(std::size_t index) const;
  __u64 sum(Counter counter) const;
  /// The line "counters": each one's sum over the workers, zeros too.
  void write(base::Log& log) const;

 private:
  struct alignas(64) Slot {
    tlsplice_counters counters;
  };
  CounterTable(Slot* slots, std::size_t workers) : slots_(slots), workers_(workers) {}

  Slot* slots_;
  std::size_t workers_;
};

}  // namespace tlsplice::observe
