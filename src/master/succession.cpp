// Generations that outlive the program that started them: what it leaves of them and their workers, and what
// its successor makes of that.
#include <algorithm>
#include <iterator>

#include "generations.hpp"

namespace tlsplice::master {

using base::Error;
using base::Result;

Bequest::Generation Workers::bequeath() const {
  Bequest::Generation left{.number = 0,
                           .access_log = config_.access_log.file,
                           .drain_timeout = config_.drain_timeout,
                           .client_ip_targets = {},
                           .target_groups = {},
                           .listeners = {},
                           .table = {.shape = counters_.shape(), .rows = counters_.backing()},
                           .loads = doors_.loads().descriptor(),
                           .workers = {}};
  for (const policy::TargetGroup& group : config_.target_groups) {
    if (!group.preserve_client_ip) continue;
    left.client_ip_targets.insert(left.client_ip_targets.end(), group.targets.begin(), group.targets.end());
  }
  // Not the ones that stand for a predecessor's client_ip_targets.
  std::ranges::copy_if(config_.target_groups, std::back_inserter(left.target_groups),
                       [](const policy::TargetGroup& group) { return !group.name.empty(); });
  std::ranges::copy_if(config_.listeners, std::back_inserter(left.listeners),
                       [](const policy::Listener& listener) { return !listener.name.empty(); });
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].process > 0) left.workers.push_back({i, slots_[i].process, slots_[i].channel.get()});
  }
  return left;
}

Result<Workers> Workers::adopt(const Bequest& bequest, const Bequest::Generation& left, bool readable,
                               const policy::Config& config, const Prepared& prepared, base::Log log) {
  auto counters =
      observe::CounterTable::create(left.table.shape, readable ? left.table.rows : observe::Backing());
  if (!counters) return base::fail(std::move(counters.error()));
  const bool serves = &left == &bequest.serving;
  const bool known = serves && bequest.health.rows >= 0 && bequest.health.layout == targets::health_layout();
  auto health = known ? targets::HealthTable::of_rows(bequest.health.count, bequest.health.rows)
                      : targets::HealthTable::of_rows(0, -1);
  if (!health) return base::fail(std::move(health.error()));
  const int loads = readable ? left.loads : -1;
  auto doors =
      serves ? Doors::adopt(bequest, counters->workers(), loads) : Doors::adopt(counters->workers(), loads);
  if (!doors) return base::fail(std::move(doors.error()));
  Workers workers(config, prepared, log, 0, std::move(*counters), std::move(*health), std::move(*doors),
                  Numbers(), std::nullopt);
  workers.adopted_ = true;
  workers.state_ = serves ? State::kServing : State::kRetired;
  for (const Bequest::Worker& worker : left.workers) {
    if (worker.index >= workers.slots_.size()) return base::fail(Error::invalid("a worker without a slot"));
    Slot& slot = workers.slots_[worker.index];
    slot.process = worker.process;
    slot.channel = base::Fd(worker.channel);
    slot.started = base::now();
  }
  return workers;
}

Result<void> Generations::adopt(const Bequest& bequest) {
  // A program that counts in another way: its workers go on, what they count is lost.
  const bool readable = bequest.layout == observe::layout();
  flow_hash_seed_ = bequest.flow_hash_seed;
  auto serving = adopt_one(bequest, bequest.serving, readable);
  if (!serving) return base::fail(std::move(serving.error()));
  current_ = std::move(*serving);
  made_ = current_->number;
  for (const Bequest::Generation& left : bequest.retired) {
    auto retired = adopt_one(bequest, left, readable);
    if (!retired) return base::fail(std::move(retired.error()));
    old_.push_back(std::move(*retired));
  }
  if (readable) {
    auto past = observe::CounterTable::create(bequest.past.shape, bequest.past.rows);
    if (!past) return base::fail(std::move(past.error()));
    past_.add(*past);
  }
  close_tables(bequest);
  return {};
}

Result<std::unique_ptr<Generation>> Generations::adopt_one(const Bequest& bequest,
                                                           const Bequest::Generation& left,
                                                           bool readable) const {
  policy::Config config;
  config.access_log.file = left.access_log;
  config.drain_timeout = left.drain_timeout;
  config.target_groups = left.target_groups;
  config.listeners = left.listeners;
  if (!left.client_ip_targets.empty()) {
    config.target_groups.push_back(
        {.name = "", .targets = left.client_ip_targets, .preserve_client_ip = true});
    config.listeners.emplace_back().forward.emplace_back();  // to it: neither has a name
  }
  auto made = std::make_unique<Generation>(
      Generation{.number = left.number,
                 .config = std::move(config),
                 .prepared = {},
                 .log = base::Log(log_fd_, base::LogLevel::kInfo, base::LogFormat::kLogfmt),
                 .workers = std::nullopt});
  auto workers = Workers::adopt(bequest, left, readable, made->config, made->prepared, made->log);
  if (!workers) return base::fail(std::move(workers.error()));
  made->workers.emplace(std::move(*workers));
  return made;
}

Result<Bequest> Generations::bequeath(std::optional<observe::CounterTable>& past) const {
  auto table = past_.as_table();
  if (!table) return base::fail(std::move(table.error()));
  const auto left_of = [](const Generation& generation) {
    Bequest::Generation left = generation.workers->bequeath();
    left.number = generation.number;
    return left;
  };
  Bequest bequest{.layout = observe::layout(),
                  .flow_hash_seed = flow_hash_seed_,
                  .past = {.shape = table->shape(), .rows = table->backing()},
                  .serving = left_of(*current_),
                  .listeners = {},
                  .shut = {},
                  .retired = {},
                  .health = {.layout = targets::health_layout(),
                             .count = current_->workers->health().target_rows().size(),
                             .rows = current_->workers->health().descriptor()},
                  .departures = {},
                  .names = {}};
  current_->workers->doors().bequeath(bequest);
  for (const auto& generation : old_) bequest.retired.push_back(left_of(*generation));
  past.emplace(std::move(*table));
  return bequest;
}

}  // namespace tlsplice::master
