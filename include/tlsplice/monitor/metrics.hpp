// The numbers of the service as Prometheus text: those of the pinned maps, under the load balancer's names in
// Prometheus form. Reads the memory that the workers write and nothing else.
#pragma once

#include <string>

#include "tlsplice/base/clock.hpp"
#include "tlsplice/base/shared_rows.hpp"
#include "tlsplice/observe/counters.hpp"
#include "tlsplice/targets/health.hpp"
#include "tlsplice/wire/steering.h"

namespace tlsplice::monitor {

/// What there is to show. All of it outlives whoever shows it.
struct Numbers {
  const observe::CounterTable& counters;
  const base::SharedRows<tlsplice_worker_load>& loads;
  const base::SharedRows<tlsplice_steering>& outcomes;
  const targets::HealthTable& health;
  std::string library;     // the TLS library and its version
  base::WallTime started;  // the service, and with it every total
};

/// Text format 0.0.4, UTF-8. Rows of a listener or target are summed over the workers; a histogram's buckets
/// and its count always agree, other numbers may be a flow apart.
std::string metrics_text(const Numbers& numbers, base::Instant now);

}  // namespace tlsplice::monitor
