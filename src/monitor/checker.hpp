// A target's checks, one an interval, and what becomes of its state and its log lines. Once an interval it
// also asks the workers' counters how flows to the target fare: the passive check, which the load balancer
// does not let people turn off.
#pragma once

#include <functional>

#include "check.hpp"
#include "signs.hpp"
#include "tlsplice/base/log.hpp"
#include "tlsplice/observe/counters.hpp"

namespace tlsplice::monitor {

class Checker {
 public:
  struct Setup {
    event_base* loop;
    const Question& question;
    base::Milliseconds draining_interval;
    net::Address address;
    tlsplice_target_health& row;
    const observe::CounterTable& counters;
    std::size_t counters_row = 0;  // the target's place in the Shape
    base::Log& log;
    base::OncePerSecond& shortages;  // of all checkers
    std::function<void()> changed;   // its state has
  };
  explicit Checker(Setup setup);

  /// The first check comes after so long, the second one after the timeout and a random part of the interval,
  /// the others an interval apart: targets that begin together do not stay together.
  void begin(base::Milliseconds delay);

 private:
  void turn();
  void enter(const std::optional<Answer>& answer);
  void enter(targets::Outcome outcome, const std::string& detail);
  void drain();
  void changed(const std::string& detail);
  void log_change(const std::string& detail);
  std::uint64_t count(observe::TargetCounter counter) const {
    return setup_.counters.sum(setup_.counters_row, counter);
  }

  Setup setup_;
  targets::Thresholds thresholds_;
  Check check_;
  Event timer_;
  Event drained_;  // the interval of "unhealthy.draining" is over
  FlowSigns flows_;
  FewAMinute lines_;
  bool first_ = true;
  bool flows_fail_ = false;  // in this interval
};

}  // namespace tlsplice::monitor
