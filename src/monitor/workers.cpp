// The maps `workers` and `steering`, and the processes that died.
#include <fmt/format.h>

#include <algorithm>

#include "families.hpp"

namespace tlsplice::monitor {
namespace {

using C = tlsplice_counters;
using S = tlsplice_steering;
using W = tlsplice_worker_load;

constexpr Whole<W> kLoads[] = {
    {{"tlsplice_worker_active_flows", Type::kGauge, "Flows that the worker has now."}, &W::active},
    {{"tlsplice_worker_shut", Type::kGauge,
      "1: its listening sockets are shut, because it is stuck or keeps dying."},
     &W::closed},
    {{"tlsplice_worker_accepted_count_total", Type::kCounter, "Connections that the worker accepted."},
     &W::accepted},
    {{"tlsplice_worker_handshake_count_total", Type::kCounter,
      "Handshakes with clients that the worker completed."},
     &W::handshakes},
    {{"tlsplice_worker_picked_count_total", Type::kCounter,
      "Connections that steering gave to the worker, also those that were never completed."},
     &W::picked},
    {{"tlsplice_worker_migrated_count_total", Type::kCounter,
      "Of the picked ones those taken from another worker's closed socket."},
     &W::migrated},
    {{"tlsplice_worker_restart_count_total", Type::kCounter,
      "How often the worker ended without being told to."},
     &W::restarts}};

constexpr Family kUp{"tlsplice_worker_up", Type::kGauge,
                     "1: there is a process; 0: it died and is to be replaced."};
constexpr Family kDraining{"tlsplice_worker_draining", Type::kGauge, "1: the worker takes nothing new."};
constexpr Family kHeartbeat{"tlsplice_worker_heartbeat_age_seconds", Type::kGauge,
                            "Since the worker's loop last came round; absent where there is no process."};
constexpr Family kMonitorDeaths{"tlsplice_monitor_death_count_total", Type::kCounter,
                                "How often the process that serves this page ended without being told to."};

constexpr Family kSteering{"tlsplice_steering_count_total", Type::kCounter,
                           "New connections, by how their worker was found."};
constexpr Part<S> kOutcomes[] = {{"least_loaded", &S::least_loaded},
                                 {"cpu", &S::cpu},
                                 {"hash", &S::hash},
                                 {"migrated", &S::migrated},
                                 {"kernel_no_worker", &S::kernel_no_worker},
                                 {"kernel_no_socket", &S::kernel_no_socket}};
constexpr Whole<S> kUnsteered[] = {{{"tlsplice_steering_migrated_unsteered_count_total", Type::kCounter,
                                     "Of those left to the kernel's hash the ones from a closed socket."},
                                    &S::migrated_unsteered}};

Labels by_listener(const S& row) {
  return {{"listener", text(row.listener)}};
}

/// One row a worker: nothing to sum over.
template <typename Show>
void show_each(Exposition& out, const Family& family, const base::SharedRows<W>& loads, Show show) {
  out.begin(family);
  for (std::size_t i = 0; i < loads.count(); ++i) show(std::to_string(i), loads[i]);
}

}  // namespace

void show_workers(Exposition& out, const Numbers& numbers, base::Instant now) {
  for (const Whole<W>& whole : kLoads) {
    show_each(out, whole.family, numbers.loads, [&](const std::string& worker, const W& load) {
      out.sample({{"worker", worker}}, base::shared_get(load.*whole.field));
    });
  }
  show_each(out, kUp, numbers.loads, [&](const std::string& worker, const W& load) {
    out.sample({{"worker", worker}}, base::shared_get(load.heartbeat_ns) != 0 ? 1 : 0);
  });
  show_each(out, kDraining, numbers.loads, [&](const std::string& worker, const W& load) {
    out.sample({{"worker", worker}}, base::shared_get(load.draining) != 0 ? 1 : 0);
  });
  // The worker's clock is ours: CLOCK_MONOTONIC.
  const auto now_ns = static_cast<__u64>(std::chrono::nanoseconds(now.time_since_epoch()).count());
  show_each(out, kHeartbeat, numbers.loads, [&](const std::string& worker, const W& load) {
    const __u64 beat = base::shared_get(load.heartbeat_ns);
    if (beat != 0) out.seconds({{"worker", worker}}, (std::max(now_ns, beat) - beat) / 1000);
  });
  out.begin(kMonitorDeaths);
  out.sample({}, sum(numbers.counters.counter_rows(), &C::MonitorDeathCount));
}

void show_steering(Exposition& out, const Numbers& numbers) {
  const std::span<const S> rows(&numbers.outcomes[0], numbers.outcomes.count());
  Groups listeners(out, rows, 1, by_listener);
  listeners.show(kSteering, "outcome", kOutcomes);
  listeners.show(kUnsteered);
}

}  // namespace tlsplice::monitor
