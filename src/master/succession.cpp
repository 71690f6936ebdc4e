// Generations that outlive the program that started them: what it leaves of them and their workers, and what
// its successor makes of that.
#include "generations.hpp"

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

Result<Workers> Workers::adopt(const Bequest& bequest, const Bequest::Generation& left, bool readable,
                               const policy::Config& config, const Prepared& prepared, base::Log log) {
  auto counters =
      observe::CounterTable::create(left.table.shape, readable ? left.table.rows : observe::Backing());
  if (!counters) return base::fail(std::move(counters.error()));
  auto health = targets::HealthTable::create({});
  if (!health) return base::fail(std::move(health.error()));
  const bool serves = &left == &bequest.serving;
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
  policy::TargetGroup& group = config.target_groups.emplace_back();
  group.targets = left.client_ip_targets;
  group.preserve_client_ip = !group.targets.empty();
  config.listeners.emplace_back().forward.emplace_back();  // to it: neither has a name
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
                  .retired = {}};
  current_->workers->doors().bequeath(bequest);
  for (const auto& generation : old_) bequest.retired.push_back(left_of(*generation));
  past.emplace(std::move(*table));
  return bequest;
}

}  // namespace tlsplice::master
