// Workers that outlive the program that started them: what it leaves of them, and what its successor makes of
// that.
#include "workers.hpp"

namespace tlsplice::master {

using base::Error;
using base::Result;

Bequest::Generation Workers::bequeath() const {
  Bequest::Generation left{.number = 0,
                           .access_log = config_.access_log.file,
                           .drain_timeout = config_.drain_timeout,
                           .client_ip_targets = {},
                           .table = {.shape = counters_.shape(), .rows = counters_.backing()},
                           .loads = doors_.loads().descriptor(),
                           .workers = {}};
  for (const policy::TargetGroup& group : config_.target_groups) {
    if (!group.preserve_client_ip) continue;
    left.client_ip_targets.insert(left.client_ip_targets.end(), group.targets.begin(), group.targets.end());
  }
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].process > 0) left.workers.push_back({i, slots_[i].process, slots_[i].channel.get()});
  }
  return left;
}

Result<Workers> Workers::adopt(const Bequest::Generation& left,
                               const std::vector<Bequest::Listener>& listeners, bool readable,
                               const policy::Config& config, const Prepared& prepared, base::Log log) {
  auto counters =
      observe::CounterTable::create(left.table.shape, readable ? left.table.rows : observe::Backing());
  if (!counters) return base::fail(std::move(counters.error()));
  auto health = targets::HealthTable::create({});
  if (!health) return base::fail(std::move(health.error()));
  auto doors = Doors::adopt(listeners, counters->workers(), readable ? left.loads : -1);
  if (!doors) return base::fail(std::move(doors.error()));
  Workers workers(config, prepared, log, 0, std::move(*counters), std::move(*health), std::move(*doors),
                  Numbers(), std::nullopt);
  workers.adopted_ = true;
  workers.state_ = listeners.empty() ? State::kRetired : State::kServing;
  for (const Bequest::Worker& worker : left.workers) {
    if (worker.index >= workers.slots_.size()) return base::fail(Error::invalid("a worker without a slot"));
    Slot& slot = workers.slots_[worker.index];
    slot.process = worker.process;
    slot.channel = base::Fd(worker.channel);
    slot.started = base::now();
  }
  return workers;
}

}  // namespace tlsplice::master
