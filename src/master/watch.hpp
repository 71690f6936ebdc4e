// Whether a worker still turns its loop, from looks at its heartbeat. Pure: time comes in. The time between
// two looks counts only as far as the master was awake itself, so that a machine that was paused or starved
// is not taken for workers that are stuck.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tlsplice/base/clock.hpp"

namespace tlsplice::master {

class Watch {
 public:
  static constexpr base::Milliseconds kBetweenLooks{500};
  static constexpr base::Milliseconds kStuckAfter{3'000};

  void look(std::uint64_t heartbeat, base::Instant now) {
    const auto passed = std::chrono::duration_cast<base::Milliseconds>(now - last_look_);
    last_look_ = now;
    silent_ = heartbeat == last_ ? silent_ + std::min(passed, 2 * kBetweenLooks) : base::Milliseconds(0);
    last_ = heartbeat;
  }
  bool stuck() const { return silent_ >= kStuckAfter; }
  base::Milliseconds silent() const { return silent_; }

 private:
  std::uint64_t last_ = 0;
  base::Instant last_look_{};
  base::Milliseconds silent_{0};
};

}  // namespace tlsplice::master
