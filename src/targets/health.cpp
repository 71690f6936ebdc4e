#include "tlsplice/targets/health.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <map>

#include "avalanche.hpp"
#include "tlsplice/targets/group.hpp"

namespace tlsplice::targets {
namespace {

using base::shared_add;
using base::shared_get;
using base::shared_set;

constexpr std::size_t kBits = 64;

/// A reader may come in between: it finds the end of the text at the end of the field at the latest.
template <std::size_t N>
void replace_text(char (&field)[N], std::string_view text) {
  char fresh[N] = {};
  base::enter_text(fresh, text);
  std::memcpy(field, fresh, N);
}

__u64 seconds(base::WallTime at) {
  return static_cast<__u64>(std::chrono::system_clock::to_time_t(at));
}

void set_draining(tlsplice_target_health& target, base::Instant until) {
  const std::chrono::nanoseconds since_boot = until.time_since_epoch();
  shared_set(target.draining_until, static_cast<__u64>(since_boot.count()));
}

void change(tlsplice_target_health& target, std::string_view state, const Moment& at) {
  replace_text(target.state, state);
  shared_add(target.StateChangeCount);
  shared_set(target.changed_at, seconds(at.wall));
  shared_set(target.draining_until, 0);
}

/// The bits of a group's first `count` targets in this word.
std::uint64_t mask(std::size_t word, std::size_t count) {
  const std::size_t left = count - std::min(count, word * kBits);
  return left >= kBits ? ~std::uint64_t{0} : (std::uint64_t{1} << left) - 1;
}

bool is_enough(std::size_t healthy, std::size_t all, const policy::MinimumHealthyTargets& minimum) {
  return healthy >= minimum.count && healthy * 100 >= all * minimum.percentage;
}

}  // namespace

// ---- Writing

std::string_view description(std::string_view reason) {
  static constexpr std::pair<std::string_view, std::string_view> kDescriptions[] = {
      {kInitialHealthChecking, "Initial health checks in progress"},
      {kFailedHealthChecks, "Health checks failed"},
      {kTimeout, "Request timed out"},
      {kResponseCodeMismatch, "Health checks failed with a response code that does not match"},
      {kHealthCheckDisabled, "Health checks are disabled"},
      {kNotInUse, "Target group is not configured to receive traffic from the load balancer"}};
  for (const auto& [known, text] : kDescriptions) {
    if (known == reason) return text;
  }
  return {};
}

bool enter_check(tlsplice_target_health& target, Outcome outcome, const Thresholds& thresholds,
                 const Moment& at) {
  const bool passed = outcome.passed();
  shared_add(passed ? target.PassedCheckCount : target.FailedCheckCount);
  shared_add(passed ? target.consecutive_passes : target.consecutive_failures);
  shared_set(passed ? target.consecutive_failures : target.consecutive_passes, 0);
  shared_set(target.checked_at, seconds(at.wall));

  const std::string_view state = word(target.state);
  const bool healthy = state == kHealthy;
  const bool unhealthy = state == kUnhealthy;
  const bool drains = state == kUnhealthyDraining;
  if (passed) {
    if (healthy || ((unhealthy || drains) && target.consecutive_passes < thresholds.healthy)) return false;
    replace_text(target.reason, "");
    change(target, kHealthy, at);
    return true;
  }
  if (drains || (!unhealthy && target.consecutive_failures < thresholds.unhealthy)) return false;
  if (!unhealthy && thresholds.draining_interval.count() > 0) {
    replace_text(target.reason, kFailedHealthChecks);
    change(target, kUnhealthyDraining, at);
    set_draining(target, at.steady + thresholds.draining_interval);
    return true;
  }
  if (word(target.reason) != outcome.reason) replace_text(target.reason, outcome.reason);
  if (unhealthy) return false;
  change(target, kUnhealthy, at);
  return true;
}

std::optional<base::Instant> drains_until(const tlsplice_target_health& target) {
  if (word(target.state) != kUnhealthyDraining) return std::nullopt;
  return base::Instant(std::chrono::nanoseconds(shared_get(target.draining_until)));
}

void limit_draining(tlsplice_target_health& target, base::Instant until) {
  if (const auto now = drains_until(target); now && until < *now) set_draining(target, until);
}

bool end_draining(tlsplice_target_health& target, const Moment& at) {
  const auto until = drains_until(target);
  if (!until || at.steady < *until) return false;
  change(target, kUnhealthy, at);
  return true;
}

void enter_group(tlsplice_target_group& group, std::span<const tlsplice_target_health> targets,
                 const policy::MinimumHealthyTargets& minimum) {
  std::uint64_t usable[TLSPLICE_USABLE_WORDS] = {};
  std::size_t healthy = 0;
  std::size_t unhealthy = 0;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const std::string_view state = word(targets[i].state);
    unhealthy += state == kUnhealthy || state == kUnhealthyDraining ? 1 : 0;
    if (state != kHealthy) continue;
    ++healthy;
    usable[i / kBits] |= std::uint64_t{1} << (i % kBits);
  }
  const bool fail_open = !is_enough(healthy, targets.size(), minimum);
  shared_set(group.HealthyHostCount, healthy);
  shared_set(group.UnHealthyHostCount, unhealthy);
  shared_set(group.fail_open, fail_open ? 1 : 0);
  for (std::size_t i = 0; i < TLSPLICE_USABLE_WORDS; ++i)
    shared_set(group.usable[i], fail_open ? mask(i, targets.size()) : usable[i]);
}

// ---- Reading

std::optional<std::size_t> choose_usable(const tlsplice_target_group& group, std::size_t count,
                                         std::uint64_t hash, std::optional<std::size_t> refused) {
  // A copy, because the monitor may change the row meanwhile.
  std::uint64_t usable[TLSPLICE_USABLE_WORDS] = {};
  const std::size_t words = std::min<std::size_t>((count + kBits - 1) / kBits, TLSPLICE_USABLE_WORDS);
  bool marked = false;
  for (std::size_t i = 0; i < words; ++i) {
    usable[i] = shared_get(group.usable[i]) & mask(i, count);
    marked |= usable[i] != 0;
  }
  std::size_t left = 0;
  for (std::size_t i = 0; i < words; ++i) {
    if (!marked) usable[i] = mask(i, count);
    if (refused && *refused / kBits == i) usable[i] &= ~(std::uint64_t{1} << (*refused % kBits));
    left += static_cast<std::size_t>(std::popcount(usable[i]));
  }
  if (left == 0) return std::nullopt;
  // Those that one target refused go to all the others, not to one neighbour.
  std::size_t place = choose(refused ? avalanche(hash) : hash, left);
  for (std::size_t i = 0; i < words; ++i) {
    const auto here = static_cast<std::size_t>(std::popcount(usable[i]));
    if (place >= here) {
      place -= here;
      continue;
    }
    for (; place > 0; --place) usable[i] &= usable[i] - 1;
    return i * kBits + static_cast<std::size_t>(std::countr_zero(usable[i]));
  }
  return std::nullopt;
}

// ---- HealthTable

std::uint64_t health_layout() {
  using Row = tlsplice_target_health;
  std::uint64_t hash = sizeof(Row);
  for (const std::size_t offset :
       {offsetof(Row, target_group), offsetof(Row, target), offsetof(Row, state), offsetof(Row, reason),
        offsetof(Row, consecutive_passes), offsetof(Row, consecutive_failures),
        offsetof(Row, PassedCheckCount), offsetof(Row, FailedCheckCount), offsetof(Row, StateChangeCount),
        offsetof(Row, changed_at), offsetof(Row, checked_at), offsetof(Row, draining_until)}) {
    hash = avalanche(hash ^ offset);
  }
  return hash;
}

base::Result<HealthTable> HealthTable::create(std::span<const WatchedGroup> groups,
                                              const HealthBacking& backing) {
  HealthTable table;
  for (const WatchedGroup& watched : groups) {
    table.first_target_.push_back(table.target_count_);
    table.target_count_ += watched.group.targets.size();
  }
  auto targets = base::SharedRows<tlsplice_target_health>::create(
      std::max<std::size_t>(table.target_count_, 1), backing.target_health);
  if (!targets) return base::fail(std::move(targets.error()));
  auto rows = base::SharedRows<tlsplice_target_group>::create(std::max<std::size_t>(groups.size(), 1),
                                                              backing.target_groups);
  if (!rows) return base::fail(std::move(rows.error()));
  table.targets_ = std::move(*targets);
  table.groups_ = std::move(*rows);
  table.enter_names(groups);
  return table;
}

base::Result<HealthTable> HealthTable::of_rows(std::size_t count, int target_health) {
  HealthTable table;
  auto targets =
      base::SharedRows<tlsplice_target_health>::create(std::max<std::size_t>(count, 1), target_health);
  if (!targets) return base::fail(std::move(targets.error()));
  table.targets_ = std::move(*targets);
  table.target_count_ = count;
  return table;
}

void HealthTable::enter_names(std::span<const WatchedGroup> groups) {
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const policy::TargetGroup& group = groups[i].group;
    const bool checked = groups[i].checked();
    const bool in_use = groups[i].listener_port != 0;
    tlsplice_target_group& row = groups_[i];
    base::enter_text(row.target_group, group.name);
    row.targets = group.targets.size();
    row.checked = checked ? 1 : 0;
    row.fail_open = checked ? 1 : 0;
    for (std::size_t n = 0; n < TLSPLICE_USABLE_WORDS; ++n) row.usable[n] = mask(n, group.targets.size());
    for (std::size_t n = 0; n < group.targets.size(); ++n) {
      tlsplice_target_health& target = targets_[first_target_[i] + n];
      base::enter_text(target.target_group, group.name);
      base::enter_text(target.target, policy::to_string(group.targets[n]));
      base::enter_text(target.state, checked ? kInitial : in_use ? kUnavailable : kUnused);
      base::enter_text(target.reason, checked  ? kInitialHealthChecking
                                      : in_use ? kHealthCheckDisabled
                                               : kNotInUse);
    }
  }
}

void HealthTable::go_on_from(const HealthTable& before, std::span<const WatchedGroup> groups) {
  std::map<std::pair<std::string_view, std::string_view>, const tlsplice_target_health*> known;
  for (const tlsplice_target_health& target : before.target_rows())
    known[{word(target.target_group), word(target.target)}] = &target;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    if (!groups[i].checked()) continue;
    for (tlsplice_target_health& target : targets_of(i)) {
      const auto found = known.find({word(target.target_group), word(target.target)});
      if (found == known.end()) continue;
      const auto state = word(found->second->state);
      const bool checked = state == kHealthy || state == kUnhealthy || state == kUnhealthyDraining;
      if (checked) target = *found->second;
    }
    enter_group(groups_[i], targets_of(i), groups[i].group.minimum_healthy_targets);
  }
}

void HealthTable::forget_backing() {
  targets_.forget_descriptor();
  groups_.forget_descriptor();
}

std::span<tlsplice_target_health> HealthTable::targets_of(std::size_t group) const {
  const std::size_t first = first_target_[group];
  const std::size_t end = group + 1 < first_target_.size() ? first_target_[group + 1] : target_count_;
  if (first == end) return {};
  return {&targets_[first], end - first};
}

std::span<const tlsplice_target_group> HealthTable::group_rows() const {
  if (first_target_.empty()) return {};
  return {&groups_[0], first_target_.size()};
}

std::span<const tlsplice_target_health> HealthTable::target_rows() const {
  if (target_count_ == 0) return {};
  return {&targets_[0], target_count_};
}

}  // namespace tlsplice::targets
