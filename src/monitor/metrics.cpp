#include "tlsplice/monitor/metrics.hpp"

#include "families.hpp"

namespace tlsplice::monitor {
namespace {

using C = tlsplice_counters;

constexpr Part<C> kLimits[] = {{"max_flows", &C::RejectedFlowCount_MaxFlows},
                               {"descriptors", &C::RejectedFlowCount_Descriptors},
                               {"memory", &C::RejectedFlowCount_Memory},
                               {"ports", &C::PortAllocationErrorCount}};

}  // namespace

std::string metrics_text(const Numbers& numbers, base::Instant now) {
  Exposition out;
  show_service(out, numbers);
  show_listeners(out, numbers.counters);
  show_times(out, numbers.counters);
  show_targets(out, numbers.counters);
  show_health(out, numbers.health);
  show_tls(out, numbers.counters);
  show_limits(out, numbers.counters);
  show_workers(out, numbers, now);
  show_steering(out, numbers);
  return out.take();
}

void show_service(Exposition& out, const Numbers& numbers) {
  out.begin({"tlsplice_build_info", Type::kGauge, "1; the versions of the program and of its TLS library."});
  out.sample({{"version", TLSPLICE_VERSION}, {"library", numbers.library}}, 1);
  out.begin({"process_start_time_seconds", Type::kGauge,
             "When the service started, in seconds since 1970: every total began then."});
  const auto started =
      std::chrono::duration_cast<std::chrono::microseconds>(numbers.started.time_since_epoch());
  out.seconds({}, static_cast<std::uint64_t>(started.count()));
}

void show_limits(Exposition& out, const observe::CounterTable& counters) {
  const auto rows = counters.counter_rows();
  out.begin({"tlsplice_limit_reached_count_total", Type::kCounter, "Connections refused, by the limit."});
  for (const Part<C>& part : kLimits) out.sample({{"limit", part.word}}, sum(rows, part.field));
  out.begin({"tlsplice_dropped_log_line_count_total", Type::kCounter,
             "Log lines dropped because their reader did not keep up."});
  out.sample({}, sum(rows, &C::DroppedLogLineCount));
  out.begin({"tlsplice_dropped_access_log_line_count_total", Type::kCounter,
             "Access log lines dropped: the disk was full, or the reader did not keep up."});
  out.sample({}, sum(rows, &C::DroppedAccessLogLineCount));
}

}  // namespace tlsplice::monitor
