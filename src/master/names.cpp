#include "names.hpp"

#include <algorithm>
#include <functional>
#include <utility>

#include "tlsplice/policy/host_port.hpp"
#include "tlsplice/resolver/report.hpp"

namespace tlsplice::master {

Names::Set Names::of(const policy::Config& config) {
  Set names;
  for (const policy::TargetGroup& group : config.target_groups) {
    for (const policy::HostPort& target : group.targets) {
      if (policy::is_host_name(target)) names.insert(target.host);
    }
  }
  return names;
}

Names::Claim Names::claim(Set names) {
  auto claim = std::make_shared<const Set>(std::move(names));
  claims_.push_back(claim);
  return claim;
}

Names::Set Names::wanted() {
  std::erase_if(claims_, [](const std::weak_ptr<const Set>& claim) { return claim.expired(); });
  Set names;
  for (const auto& weak : claims_) {
    if (const Claim claim = weak.lock()) names.insert(claim->begin(), claim->end());
  }
  std::erase_if(known_, [&](const auto& entry) { return !names.contains(entry.first); });
  for (const std::string& name : names) known_.try_emplace(name);
  return names;
}

void Names::remember(Addresses addresses) {
  for (auto& [name, known] : addresses) known_[name] = {.addresses = std::move(known), .asked = true};
}

Names::Heard Names::hear(std::string_view text) {
  auto report = resolver::parse_report(text);
  const auto found = report ? known_.find(report->name) : known_.end();
  if (found == known_.end()) return Heard::kNonsense;
  const bool first = !std::exchange(found->second.asked, true);
  if (found->second.addresses == report->addresses) return first ? Heard::kNews : Heard::kNothingNew;
  found->second.addresses = std::move(report->addresses);
  return Heard::kNews;
}

bool Names::all_asked(const Set& names) const {
  return std::ranges::all_of(names, [&](const std::string& name) {
    const auto found = known_.find(name);
    return found != known_.end() && found->second.asked;
  });
}

const std::vector<std::string>& Names::addresses(std::string_view name) const {
  static const std::vector<std::string> kNone;
  const auto found = known_.find(name);
  return found == known_.end() ? kNone : found->second.addresses;
}

Names::Addresses Names::known() const {
  Addresses all;
  for (const auto& [name, known] : known_) {
    if (!known.addresses.empty()) all.emplace(name, known.addresses);
  }
  return all;
}

Names::Replaced Names::with_addresses(policy::Config config) const {
  std::vector<std::string> over_limit;
  for (policy::TargetGroup& group : config.target_groups) {
    if (std::ranges::none_of(group.targets, policy::is_host_name)) continue;
    std::vector<policy::HostPort> targets;
    std::set<std::string> seen;
    bool over = false;
    // What the configuration names by address is never left out.
    auto room = policy::kTargetsOfAGroupMax - static_cast<std::size_t>(std::ranges::count_if(
                                                  group.targets, std::not_fn(policy::is_host_name)));
    for (const policy::HostPort& target : group.targets) {
      if (!policy::is_host_name(target)) {
        if (seen.insert(policy::to_string(target)).second) targets.push_back(target);
        continue;
      }
      for (const std::string& address : addresses(target.host)) {
        policy::HostPort one{address, target.port};
        if (!seen.insert(policy::to_string(one)).second) continue;
        over |= room == 0;
        if (room == 0) break;
        --room;
        targets.push_back(std::move(one));
      }
    }
    if (over) over_limit.push_back(group.name);
    group.targets = std::move(targets);
  }
  return {std::move(config), std::move(over_limit)};
}

bool same_targets(const policy::Config& one, const policy::Config& other) {
  return std::ranges::equal(one.target_groups, other.target_groups, {}, &policy::TargetGroup::targets,
                            &policy::TargetGroup::targets);
}

}  // namespace tlsplice::master
