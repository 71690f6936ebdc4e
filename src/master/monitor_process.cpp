#include "monitor_process.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "tlsplice/monitor/monitor.hpp"
#include "tlsplice/net/socket.hpp"

namespace tlsplice::master {

using base::Result;

Result<void> MonitorProcess::prepare(const policy::MetricsSettings& settings, base::Log& log) {
  next_listening_.reset();
  next_address_ = settings.address;
  if (!settings.address || settings.address == address_) return {};
  const auto& [host, port] = *settings.address;
  auto socket = net::listen_alone(net::Address::parse(host, port).value());  // checked with the whole file
  if (socket) {
    next_listening_ = std::move(*socket);
    log.info("metrics", {{"url", fmt::format("http://{}/metrics", policy::to_string(*settings.address))}});
    return {};
  }
  next_address_.reset();
  if (!settings.is_default) {
    socket.error().detail = fmt::format("metrics.address: {}", socket.error().detail);
    return base::fail(std::move(socket.error()));
  }
  log.warning("no_metrics", {{"why", socket.error().text()},
                             {"remedy", "set [metrics] address to one that is free, or to \"off\""}});
  return {};
}

void MonitorProcess::adopt(Generation& generation) {
  generation_ = &generation;
  if (next_address_ != address_) {
    address_ = next_address_;
    listening_ = std::move(next_listening_);
  }
  process_.replace(base::now());
}

bool MonitorProcess::wanted() const {
  if (generation_ == nullptr)
    return false;  // what a predecessor left has its numbers, and nobody to show them
  return listening_ ||
         std::ranges::any_of(generation_->prepared.groups, [](const targets::WatchedGroup& watched) {
           return watched.checked() && !watched.group.targets.empty();
         });
}

void MonitorProcess::start_due(base::Instant now) {
  if (now < next_start()) return;
  process_.start_due(now, log(), [this](pid_t master) { become_monitor(master); });
}

/// In the child. It speaks HTTP with strangers, and with targets, so it has nothing that could be taken from
/// it: no key, no listening socket but its own, no channel to a worker.
void MonitorProcess::become_monitor(pid_t master) {
  base::Fd listening = std::move(listening_);
  generations_.abandon();
  Workers& workers = *generation_->workers;
  if (auto dropped = drop_privileges(workers.identity(), master); !dropped) {
    log().error("monitor_failed", {{"error", dropped.error().text()}});
    std::exit(1);
  }
  std::exit(monitor::run({.listening = std::move(listening),
                          .numbers = {.counters = workers.counters(),
                                      .loads = workers.loads(),
                                      .outcomes = workers.outcomes(),
                                      .health = workers.health(),
                                      .library = tls::library_version(),
                                      .started = service_started_},
                          .groups = generation_->prepared.groups,
                          .log = log()}));
}

bool MonitorProcess::bury(pid_t process, int status, base::Instant now) {
  if (generation_ == nullptr) return false;
  const ChildProcess::Death death = process_.bury(process, status, now, log());
  if (death == ChildProcess::Death::kUntimely)
    generation_->workers->counters().worker(0).add(&tlsplice_counters::MonitorDeathCount);
  return death != ChildProcess::Death::kNotOurs;
}

}  // namespace tlsplice::master
