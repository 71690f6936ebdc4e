// The two clocks: Instant for durations and deadlines, WallTime for people. A room is handed the time, it
// does not ask.
#pragma once

#include <chrono>

namespace tlsplice::base {

using Milliseconds = std::chrono::milliseconds;
using Instant = std::chrono::steady_clock::time_point;
using WallTime = std::chrono::system_clock::time_point;

inline Instant now() {
  return std::chrono::steady_clock::now();
}

/// Lets one event through each second and counts those it held back. One for each kind of runtime error.
class OncePerSecond {
 public:
  /// True if the event may be logged; `held_back()` then says how many were not since the last one.
  bool allow(Instant at) {
    ++pending_;
    if (at < next_) return false;
    next_ = at + std::chrono::seconds(1);
    held_back_ = pending_ - 1;
    pending_ = 0;
    return true;
  }
  unsigned long held_back() const { return held_back_; }

 private:
  Instant next_{};
  unsigned long pending_ = 0;
  unsigned long held_back_ = 0;
};

}  // namespace tlsplice::base
