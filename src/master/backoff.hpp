// When to start a worker again. The first death is answered at once; a worker that keeps dying young is given
// longer and longer pauses, so that it cannot eat the machine. Pure: time comes in.
#pragma once

#include <algorithm>

#include "tlsplice/base/clock.hpp"

namespace tlsplice::master {

class Backoff {
 public:
  static constexpr base::Milliseconds kFirstPause{100};
  static constexpr base::Milliseconds kLongestPause{10'000};
  /// A worker that lived this long is forgiven what came before.
  static constexpr base::Milliseconds kGoodLife{10'000};

  /// The pause before the next start.
  base::Milliseconds after_death(base::Milliseconds lived) {
    if (lived >= kGoodLife) next_ = base::Milliseconds(0);
    const base::Milliseconds pause = next_;
    next_ = std::clamp(2 * next_, kFirstPause, kLongestPause);
    return pause;
  }

 private:
  base::Milliseconds next_{0};
};

}  // namespace tlsplice::master
