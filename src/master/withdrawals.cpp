#include "withdrawals.hpp"

namespace tlsplice::master {

void Withdrawals::follow(const Generation& next) {
  const Generation* const current = generations_.current();
  if (current != nullptr) departures_.follow(current->config, next.config, base::now());
}

void Withdrawals::end_due(base::Instant now) {
  if (now < next_look_) return;
  next_look_ = now + kBetweenLooks;
  const Generation& current = *generations_.current();
  for (const auto& [group, target] : departures_.take_due(current.config, current.workers->health(), now)) {
    log_.info("ending_flows", {{"target_group", group}, {"target", target}});
    generations_.end_flows(group, target);
  }
  for (const auto& [listener, group] : departures_.take_shares()) {
    log_.info("ending_flows", {{"listener", listener}, {"target_group", group}});
    generations_.end_share(listener, group);
  }
}

}  // namespace tlsplice::master
