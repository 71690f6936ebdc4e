// What becomes of flows with targets that should have none any more, by the attributes of their group: those
// of a target that was deregistered may go on until its delay is over, and are ended then if the group says
// so (deregistration_delay); those of a target that turned unhealthy are ended at once unless the group says
// otherwise (target_health_state.unhealthy). Pure: time, configurations and health come in; what is to be
// ended comes out (spec: nlb-facts, section 9).
#pragma once

#include <map>
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

  /// Another configuration serves from now on: the targets that it no longer has drain.
  void follow(const policy::Config& before, const policy::Config& now, base::Instant at);
  /// Those whose flows are to be ended now, each once: their delay is over, or they have turned unhealthy.
  std::vector<Target> take_due(const policy::Config& config, const targets::HealthTable& health,
                               base::Instant at);
  /// That group's targets that drain.
  std::vector<policy::HostPort> draining(std::string_view group) const;

 private:
  struct Draining {
    policy::HostPort address;
    base::Instant until;
    bool terminate = false;
  };
  std::map<Target, Draining> draining_;
  std::map<Target, bool> unhealthy_;  // as they were at the last look
};

}  // namespace tlsplice::master
