// What becomes of flows with targets that should have none any more, by the attributes of their group: those
// of a target that was deregistered may go on until its delay is over, and are ended then if the group says
// so (deregistration_delay); those of a target that turned unhealthy are ended at once, or when it has
// drained, unless the group says otherwise (target_health_state.unhealthy); those that a listener forwards to
// a group whose weight is set to 0 are ended. Pure: time, configurations and health come in; what is to be
// ended comes out (spec: nlb-facts, sections 2 and 9).
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tlsplice/base/clock.hpp"
#include "tlsplice/policy/config.hpp"
#include "tlsplice/targets/health.hpp"

namespace tlsplice::master {

class Departures {
 public:
  struct Target {
    std::string group;
    std::string address;  // "192.0.2.1:8080"
    auto operator<=>(const Target&) const = default;
  };

  /// The flows from a listener to a target group.
  struct Share {
    std::string listener;
    std::string group;
    auto operator<=>(const Share&) const = default;
  };

  struct Draining {
    std::string group;
    policy::HostPort address;
    base::Instant until;
    bool terminate = false;
  };
  /// For a successor of this process, whose clock is the same.
  struct Left {
    std::vector<Draining> draining;
    std::vector<Share> shares;
    std::vector<Target> unhealthy;
  };
  Left bequeath() const;
  void adopt(const Left& left);

  /// Another configuration serves from now on: the targets that it no longer has drain. A group that a
  /// listener no longer names keeps its flows: only a weight of 0 says that they are to end.
  void follow(const policy::Config& before, const policy::Config& now, base::Instant at);
  /// Those whose flows are to be ended now, each once: their delay is over, or they have turned unhealthy.
  std::vector<Target> take_due(const policy::Config& config, const targets::HealthTable& health,
                               base::Instant at);
  /// Those whose weight was set to 0, each once.
  std::vector<Share> take_shares();
  /// That group's targets that drain.
  std::vector<policy::HostPort> draining(std::string_view group) const;

 private:
  void follow_weights(const policy::Config& before, const policy::Config& now);

  std::map<Target, Draining> draining_;
  std::set<Share> shares_;
  std::set<Target> unhealthy_;  // at the last look
};

}  // namespace tlsplice::master
