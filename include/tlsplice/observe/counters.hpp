// The numbers of all workers in shared memory, made by the master before it forks: BPF arrays where there is
// the privilege for them, so that bpftool prints them, anonymous memory otherwise. Each row has exactly one
// writer, so a relaxed load and store is enough. What each counts: tlsplice/wire/counters.h and numbers.h.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tlsplice/base/log.hpp"
#include "tlsplice/base/result.hpp"
#include "tlsplice/base/shared_rows.hpp"
#include "tlsplice/observe/histograms.hpp"
#include "tlsplice/wire/counters.h"
#include "tlsplice/wire/numbers.h"

namespace tlsplice::observe {

using Counter = __u64 tlsplice_counters::*;
using ListenerCounter = __u64 tlsplice_listener::*;
using TargetCounter = __u64 tlsplice_target::*;

/// What TLS of one side negotiated. Names are OpenSSL's.
struct Negotiated {
  const char* side;  // "client", "target"
  const char* protocol;
  const char* cipher;
  const char* group;
};

#ifdef TLSPLICE_NO_COUNT
inline constexpr bool kCounting = false;  // tools/bench measures what counting costs against such a build
#else
inline constexpr bool kCounting = true;
#endif

/// The first row of each kind that a worker has, or the past: `stride()` apart for listeners and targets,
/// side by side for the others.
struct FirstRows {
  tlsplice_counters* counters;
  tlsplice_listener* listeners;
  tlsplice_target* targets;
  tlsplice_negotiated* negotiated;
  tlsplice_ktls* ktls;
  tlsplice_histograms* histograms;
};

/// One worker's rows, by reference. Writing is for that worker only.
class Counters {
 public:
  void add(Counter counter, __u64 n = 1) { grow(rows_.counters->*counter, n); }
  void subtract(Counter counter, __u64 n = 1) { set(counter, get(counter) - n); }
  __u64 get(Counter counter) const { return base::shared_get(rows_.counters->*counter); }
  void set(Counter counter, __u64 value) {
    if constexpr (kCounting) base::shared_set(rows_.counters->*counter, value);
  }

  // `listener` and `target` are places in the Shape.
  void add(std::size_t listener, ListenerCounter counter, __u64 n = 1) {
    grow(rows_.listeners[listener * stride_].*counter, n);
  }
  void add(std::size_t target, TargetCounter counter, __u64 n = 1) {
    grow(rows_.targets[target * stride_].*counter, n);
  }
  void subtract(std::size_t listener, ListenerCounter counter) {
    add(listener, counter, static_cast<__u64>(-1));
  }
  void subtract(std::size_t target, TargetCounter counter) { add(target, counter, static_cast<__u64>(-1)); }
  /// What took that long, at this listener.
  void add(std::size_t listener, Timing timing, std::chrono::nanoseconds took) {
    if constexpr (kCounting) count(rows_.histograms[listener * stride_], timing, took);
  }
  /// A connection that negotiated this.
  void add(const Negotiated& negotiated);
  /// Where a connection's TLS is, or why not in the kernel: the record's word. Both directions of a
  /// connection go together.
  void add_ktls(bool client, std::string_view where);

 private:
  friend class CounterTable;
  Counters(const FirstRows& rows, std::size_t stride) : rows_(rows), stride_(stride) {}
  static void grow(__u64& field, __u64 n) {
    if constexpr (kCounting) base::shared_add(field, n);
  }
  FirstRows rows_;
  std::size_t stride_;  // rows from one listener or target to the next
};

/// What there is to count. Fixed for the service's life.
struct Shape {
  struct Listener {
    std::string name;
    std::string protocol;  // "TLS", "TCP"
  };
  struct Target {
    std::string group;
    std::string address;
  };
  std::size_t workers = 1;
  std::vector<Listener> listeners{{"-", "-"}};
  std::vector<Target> targets{{"-", "-"}};
};

/// Descriptors of BPF arrays with as many rows as the Shape asks for, those for the past included; -1:
/// anonymous memory.
struct Backing {
  int counters = -1;
  int listeners = -1;
  int targets = -1;
  int negotiated = -1;
  int ktls = -1;
  int histograms = -1;
};

/// What the rows are like in this program: tables of one that says otherwise cannot be read.
std::uint64_t layout();

/// Owns the mappings. Inherited by fork, gone with the last process.
class CounterTable {
 public:
  static base::Result<CounterTable> create(std::size_t workers) { return create(Shape{.workers = workers}); }
  static base::Result<CounterTable> create(const Shape& shape, const Backing& backing = {});

  std::size_t workers() const { return stride() > 0 ? stride() - 1 : 0; }
  /// Rows of each listener or target: one a worker, and the last one for what was before them (past.hpp).
  std::size_t stride() const { return counters_.count(); }
  Counters worker(std::size_t index) const;
  /// Nothing of this worker is active any more. For the master, between two workers.
  void bury(std::size_t worker) const;
  __u64 sum(Counter counter) const;
  __u64 sum(std::size_t listener, ListenerCounter counter) const;
  __u64 sum(std::size_t target, TargetCounter counter) const;

  /// Those of that worker; behind the last one's are those for the past (past.hpp).
  FirstRows first_rows(std::size_t index) const;
  /// Whoever has the Shape and what the rows lie in can create() the same table again.
  Shape shape() const;
  Backing backing() const;
  void forget_backing();

  // The rows as they lie in memory, for who shows them: read with base::shared_get. Those of a listener or
  // target stand side by side, `stride()` of them.
  std::span<const tlsplice_counters> counter_rows() const { return all(counters_); }
  std::span<const tlsplice_listener> listener_rows() const { return all(listeners_); }
  std::span<const tlsplice_target> target_rows() const { return all(targets_); }
  std::span<const tlsplice_negotiated> negotiated_rows() const { return all(negotiated_); }
  std::span<const tlsplice_ktls> ktls_rows() const { return all(ktls_); }
  std::span<const tlsplice_histograms> histogram_rows() const { return all(histograms_); }

  /// The line "counters": each one's sum over the workers, zeros too.
  void write(base::Log& log) const;

 private:
  CounterTable() = default;
  void enter_names(const Shape& shape) const;
  template <typename Row>
  static std::span<const Row> all(const base::SharedRows<Row>& rows) {
    return {&rows[0], rows.count()};
  }

  base::SharedRows<tlsplice_counters> counters_;
  base::SharedRows<tlsplice_listener> listeners_;
  base::SharedRows<tlsplice_target> targets_;
  base::SharedRows<tlsplice_negotiated> negotiated_;
  base::SharedRows<tlsplice_ktls> ktls_;
  base::SharedRows<tlsplice_histograms> histograms_;
};

}  // namespace tlsplice::observe
