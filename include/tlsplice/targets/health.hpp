// How the targets are: rows in memory that all processes share, made by the master before it forks, written
// by the monitor process alone, read by the workers, who take a target from the bits of their group. What a
// check does to a target's state and to its group are functions over these rows that know no clock, no
// socket and no log. Rows and words: tlsplice/wire/health.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "tlsplice/base/clock.hpp"
#include "tlsplice/base/result.hpp"
#include "tlsplice/base/shared_rows.hpp"
#include "tlsplice/policy/config.hpp"
#include "tlsplice/wire/health.h"

namespace tlsplice::targets {

static_assert(policy::kTargetsOfAGroupMax == TLSPLICE_TARGETS_OF_A_GROUP_MAX);

// States and reasons, as the load balancer has them.
inline constexpr std::string_view kInitial = "initial";
inline constexpr std::string_view kHealthy = "healthy";
inline constexpr std::string_view kUnhealthy = "unhealthy";
inline constexpr std::string_view kUnhealthyDraining = "unhealthy.draining";
inline constexpr std::string_view kUnused = "unused";
inline constexpr std::string_view kUnavailable = "unavailable";
inline constexpr std::string_view kInitialHealthChecking = "Elb.InitialHealthChecking";
inline constexpr std::string_view kFailedHealthChecks = "Target.FailedHealthChecks";
inline constexpr std::string_view kTimeout = "Target.Timeout";
inline constexpr std::string_view kResponseCodeMismatch = "Target.ResponseCodeMismatch";
inline constexpr std::string_view kHealthCheckDisabled = "Target.HealthCheckDisabled";
inline constexpr std::string_view kNotInUse = "Target.NotInUse";

/// What the load balancer says of a reason, for people; empty where it has none.
std::string_view description(std::string_view reason);

/// A group of the configuration as its checks need it.
struct WatchedGroup {
  policy::TargetGroup group;
  std::uint16_t listener_port = 0;  // of the first listener that forwards to it; 0: none does

  bool checked() const { return group.health_check.enabled && listener_port != 0; }
};

// ---- For the one who writes

/// A check failed if there is a reason, one of the above.
struct Outcome {
  std::string_view reason = {};

  bool passed() const { return reason.empty(); }
};

struct Thresholds {
  std::uint64_t healthy = policy::kDefaultCheckThreshold;
  std::uint64_t unhealthy = policy::kDefaultCheckThreshold;
  base::Milliseconds draining_interval{0};  // of policy::UnhealthyState
};

struct Moment {
  base::WallTime wall{};
  base::Instant steady{};
};

/// Enters a check's outcome, and the state that follows: a target is healthy after its first passed check
/// whatever the threshold, an unhealthy one after as many passes in a row as the threshold says, any other is
/// unhealthy after so many failures in a row; with a draining interval it is "unhealthy.draining" first,
/// whose reason is always the same. True when the state changed.
bool enter_check(tlsplice_target_health& target, Outcome outcome, const Thresholds& thresholds,
                 const Moment& at);

/// When the interval of a target that drains is over; nullopt: it does not drain.
std::optional<base::Instant> drains_until(const tlsplice_target_health& target);
/// It is over at that time, if not sooner: another configuration says so.
void limit_draining(tlsplice_target_health& target, base::Instant until);
/// A target whose interval is over is unhealthy. True when the state changed.
bool end_draining(tlsplice_target_health& target, const Moment& at);

/// Counts a group's targets and says which are to be used: the healthy ones, or all (fail open) where those
/// are fewer than the minimum.
void enter_group(tlsplice_target_group& group, std::span<const tlsplice_target_health> targets,
                 const policy::MinimumHealthyTargets& minimum);

// ---- For those who read

/// A row's state or reason, also while it is being written.
template <std::size_t N>
std::string_view word(const char (&field)[N]) {
  return {field, ::strnlen(field, N)};
}

/// Of a group's `count` targets one of those to be used, each equally likely over all hashes; when none is
/// marked (nobody has checked yet), one of all. `refused`, if given, is passed over; nullopt: there is no
/// other.
std::optional<std::size_t> choose_usable(const tlsplice_target_group& group, std::size_t count,
                                         std::uint64_t hash, std::optional<std::size_t> refused = {});

/// Descriptors of BPF arrays with a row for each target and group, one where there is none; -1: anonymous
/// memory.
struct HealthBacking {
  int target_health = -1;
  int target_groups = -1;
};

/// What a target's row is like in this program.
std::uint64_t health_layout();

/// Owns the mappings. Inherited by fork, gone with the last process.
class HealthTable {
 public:
  /// Targets that will be checked begin as `initial`, and all are used until the first one is healthy.
  static base::Result<HealthTable> create(std::span<const WatchedGroup> groups,
                                          const HealthBacking& backing = {});

  /// The rows of another process's table, of `count` targets, for go_on_from() of the next one: it has no
  /// groups. They must have our layout.
  static base::Result<HealthTable> of_rows(std::size_t count, int target_health);
  /// What they lie in; not after forget_backing().
  int descriptor() const { return targets_.descriptor(); }

  /// Targets that were in the table before are as they were there. Before anybody reads this one.
  void go_on_from(const HealthTable& before, std::span<const WatchedGroup> groups);

  /// The rows stay; nobody can be given them any more.
  void forget_backing();

  std::size_t groups() const { return first_target_.size(); }
  tlsplice_target_group& group(std::size_t group) const { return groups_[group]; }
  /// In the order of the group's list. For the writer they are to be changed.
  std::span<tlsplice_target_health> targets_of(std::size_t group) const;

  // For who shows them: read with base::shared_get and word().
  std::span<const tlsplice_target_group> group_rows() const;
  std::span<const tlsplice_target_health> target_rows() const;

 private:
  HealthTable() = default;
  void enter_names(std::span<const WatchedGroup> groups);

  base::SharedRows<tlsplice_target_health> targets_;
  base::SharedRows<tlsplice_target_group> groups_;
  std::vector<std::size_t> first_target_;  // of each group
  std::size_t target_count_ = 0;
};

}  // namespace tlsplice::targets
