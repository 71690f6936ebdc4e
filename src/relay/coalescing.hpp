// What a network card does with interrupts: while bytes come from one side only, and fast, the kernel tells
// of them no sooner than there are as many as one read takes (SO_RCVLOWAT), or they pause. A worker that
// keeps up with a fast client would else read half a buffer at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "tlsplice/uring/ring.hpp"

namespace tlsplice::relay {

class Coalescing final : private uring::Timer {
 public:
  /// What the kernel waits for, in bytes: as many as the relay reads at once.
  static constexpr int kLowWater = 64 * 1024;
  /// So much must have come in a row, with nothing the other way: a request that ends sooner is not delayed,
  /// a longer one by a seventh, at most, of the time that it takes at 10 Gbit/s.
  static constexpr std::uint64_t kRowBytes = 4 * 1024 * 1024;
  /// "Fast" is so much within that time, 1 Gbit/s: the mark is then reached within half a millisecond.
  static constexpr std::uint64_t kWindowBytes = 128 * 1024;
  static constexpr std::chrono::milliseconds kWindow{1};
  /// A pause: bytes below the mark wait for one such time at least and two at most.
  static constexpr std::chrono::microseconds kPause{250};

  /// Of the TCP socket `fd`, which outlives it. Null when there is no memory: it does without.
  static std::unique_ptr<Coalescing> of(uring::Ring& ring, int fd);

  /// `bytes` in all have come from the socket.
  void moved(std::uint64_t bytes);
  /// Something went the other way.
  void turned() { row_from_ = bytes_; }
  /// Whether the kernel waits for the mark.
  bool active() const { return armed(); }

 private:
  Coalescing(uring::Ring& ring, int fd) : Timer(ring), fd_(fd) {}
  void begin();
  void fire() override;

  int fd_;
  std::uint64_t bytes_ = 0;
  std::uint64_t row_from_ = 0;
  std::uint64_t window_from_ = 0;
  std::uint64_t seen_ = 0;  // when the timer was last armed
  base::Instant window_began_{};
};

}  // namespace tlsplice::relay
