// Two small memories of a checked target, pure: what its flows say of it, and how often its state may be
// logged.
#pragma once

#include <cstdint>
#include <utility>

#include "tlsplice/base/clock.hpp"

namespace tlsplice::monitor {

/// Whether a target's flows all fail: connections to it were refused or timed out since the last look, and
/// not one succeeded. The totals are the workers' counters.
class FlowSigns {
 public:
  FlowSigns(std::uint64_t taken, std::uint64_t failed) : taken_(taken), failed_(failed) {}
  bool bad(std::uint64_t taken, std::uint64_t failed) {
    const bool none_taken = std::exchange(taken_, taken) == taken;
    return std::exchange(failed_, failed) != failed && none_taken;
  }

 private:
  std::uint64_t taken_;
  std::uint64_t failed_;
};

/// Lets a few events a minute through; those it held back are to be summed up when the minute is over.
class FewAMinute {
 public:
  static constexpr unsigned kMost = 4;

  bool allow(base::Instant now) {
    if (now >= end_) {
      end_ = now + std::chrono::minutes(1);
      passed_ = 0;
    }
    const bool allowed = passed_ < kMost;
    if (allowed) {
      ++passed_;
    } else {
      ++held_back_;
    }
    return allowed;
  }
  /// How many were held back, once, when their minute is over; 0: nothing to say.
  unsigned long summary(base::Instant now) { return now < end_ ? 0 : std::exchange(held_back_, 0); }

 private:
  base::Instant end_{};
  unsigned passed_ = 0;
  unsigned long held_back_ = 0;
};

}  // namespace tlsplice::monitor
