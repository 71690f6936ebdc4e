// Ends flows in time that their targets should not have any more: asks the Departures twice a second which
// ones, and tells the workers of all generations.
#pragma once

#include <string_view>
#include <vector>

#include "departures.hpp"
#include "generations.hpp"
#include "tlsplice/base/clock.hpp"
#include "tlsplice/base/log.hpp"

namespace tlsplice::master {

class Withdrawals {
 public:
  /// Both outlive it.
  Withdrawals(Generations& generations, base::Log& log) : generations_(generations), log_(log) {}

  Departures::Left bequeath() const { return departures_.bequeath(); }
  void adopt(const Departures::Left& left) { departures_.adopt(left); }
  /// That generation takes the place of the current one.
  void follow(const Generation& next);
  /// Ends what is due. Only while somebody serves.
  void end_due(base::Instant now);
  base::Instant next_look() const { return next_look_; }
  std::vector<policy::HostPort> draining(std::string_view group) const { return departures_.draining(group); }

 private:
  static constexpr base::Milliseconds kBetweenLooks{500};

  Generations& generations_;
  base::Log& log_;
  Departures departures_;
  base::Instant next_look_{};
};

}  // namespace tlsplice::master
