#include "departures.hpp"

#include <algorithm>
#include <utility>

namespace tlsplice::master {
namespace {

std::set<Departures::Target> targets_of(const policy::Config& config) {
  std::set<Departures::Target> all;
  for (const policy::TargetGroup& group : config.target_groups) {
    for (const policy::HostPort& target : group.targets) all.insert({group.name, policy::to_string(target)});
  }
  return all;
}

}  // namespace

void Departures::follow(const policy::Config& before, const policy::Config& now, base::Instant at) {
  follow_weights(before, now);
  const auto registered = targets_of(now);
  for (const Target& target : registered) draining_.erase(target);
  for (const policy::TargetGroup& group : before.target_groups) {
    // As the group says now; one that is gone with its targets, as it said.
    const policy::TargetGroup* const current = now.target_group(group.name);
    const auto& delay = (current != nullptr ? current : &group)->deregistration_delay;
    for (const policy::HostPort& host_port : group.targets) {
      Target target{group.name, policy::to_string(host_port)};
      if (registered.contains(target)) continue;
      draining_.try_emplace(std::move(target), Draining{group.name, host_port, at + delay.timeout,
                                                        delay.connection_termination});
    }
  }
}

void Departures::follow_weights(const policy::Config& before, const policy::Config& now) {
  for (const policy::Listener& listener : now.listeners) {
    const auto old = std::ranges::find(before.listeners, listener.name, &policy::Listener::name);
    for (const auto& [group, weight] : listener.forward) {
      if (weight > 0) shares_.erase({listener.name, group});
      if (weight > 0 || old == before.listeners.end()) continue;
      const auto share = std::ranges::find(old->forward, group, &policy::Forward::target_group);
      if (share == old->forward.end() || share->weight > 0) shares_.insert({listener.name, group});
    }
  }
}

std::vector<Departures::Share> Departures::take_shares() {
  const std::set<Share> taken = std::exchange(shares_, {});
  return {taken.begin(), taken.end()};
}

std::vector<Departures::Target> Departures::take_due(const policy::Config& config,
                                                     const targets::HealthTable& health, base::Instant at) {
  std::vector<Target> due;
  std::erase_if(draining_, [&](const auto& entry) {
    const auto& [target, drains] = entry;
    if (at < drains.until) return false;
    if (drains.terminate) due.push_back(target);
    return true;
  });
  if (health.groups() == 0) return due;  // of a predecessor: nobody says how they are now
  std::set<Target> unhealthy;
  for (std::size_t i = 0; i < health.groups(); ++i) {
    const policy::TargetGroup& group = config.target_groups[i];
    // While a group is open to all, its targets' flows are left to them.
    const bool fail_open = base::shared_get(health.group(i).fail_open) != 0;
    for (const tlsplice_target_health& row : health.targets_of(i)) {
      Target target{group.name, std::string(targets::word(row.target))};
      if (targets::word(row.state) != targets::kUnhealthy || fail_open) continue;
      // With an interval it has drained before.
      const bool terminates =
          group.unhealthy.connection_termination || group.unhealthy.draining_interval.count() > 0;
      if (terminates && !unhealthy_.contains(target)) due.push_back(target);
      unhealthy.insert(std::move(target));
    }
  }
  unhealthy_ = std::move(unhealthy);
  return due;
}

Departures::Left Departures::bequeath() const {
  Left left{.draining = {},
            .shares = {shares_.begin(), shares_.end()},
            .unhealthy = {unhealthy_.begin(), unhealthy_.end()}};
  for (const auto& [target, drains] : draining_) left.draining.push_back(drains);
  return left;
}

void Departures::adopt(const Left& left) {
  for (const Draining& drains : left.draining)
    draining_.insert_or_assign({drains.group, policy::to_string(drains.address)}, drains);
  shares_.insert(left.shares.begin(), left.shares.end());
  unhealthy_.insert(left.unhealthy.begin(), left.unhealthy.end());
}

std::vector<policy::HostPort> Departures::draining(std::string_view group) const {
  std::vector<policy::HostPort> addresses;
  for (const auto& [target, drains] : draining_) {
    if (target.group == group) addresses.push_back(drains.address);
  }
  return addresses;
}

}  // namespace tlsplice::master
