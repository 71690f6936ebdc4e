// The relay moves the bytes of one flow, both directions at once, until both have ended or one has failed. It
// tells a Meter what it moves and returns how the flow ended; closing the sockets, and resetting them where
// the end was not clean, is the caller's.
//
// Ends are truthful (RFC 9293 section 3.6, RFC 8446 section 6.1): a half-close passes through and the other
// direction flows on; a reset, or a FIN where TLS demands close_notify, never becomes a clean end at the
// other side.
#pragma once

#include <cstdint>

#include "tlsplice/base/clock.hpp"
#include "tlsplice/net/stream.hpp"
#include "tlsplice/relay/pools.hpp"
#include "tlsplice/uring/ring.hpp"
#include "tlsplice/uring/task.hpp"

namespace tlsplice::relay {

enum class Side : std::uint8_t { kClient, kTarget };

enum class Finish : std::uint8_t {
  kClosed,     // both directions ended cleanly
  kReset,      // `by` reset its connection
  kTruncated,  // `by` sent a FIN without close_notify, and truncation resets
  kBroken,     // `by` broke TLS or sent a fatal alert
  kIdle,       // nothing moved for the idle timeout
  kStopped,    // the Stop was requested
  kExhausted,  // no memory for a buffer
};

/// How bytes move between two sockets that splice(2) works on; everything else is copied.
enum class Mode : std::uint8_t {
  kAuto,         // small messages are copied, bulk is spliced where that costs less
  kSplice,       // the ring waits, splice(2) moves
  kUringSplice,  // the ring waits and moves: IORING_OP_SPLICE, which kernels hand to a worker thread (trap
                 // 71)
  kCopy,
};

const char* to_string(Mode mode);  // as the configuration has it: "auto"

/// When kAuto changes its mind.
struct Thresholds {
  std::size_t splice_from = kBufferBytes;  // a read that brings this many bytes; at most kBufferBytes
  std::size_t copy_below = 16 * 1024;      // a wake-up that brings fewer than this
};

struct Outcome {
  Finish finish = Finish::kClosed;
  Side by = Side::kClient;
  bool truncated = false;  // a truncation was seen, whatever was made of it
};

/// Is told what has moved, after each turn of a direction that moved any.
class Meter {
 public:
  Meter() = default;
  Meter(const Meter&) = delete;
  Meter& operator=(const Meter&) = delete;
  /// So far `bytes` of payload came from that side and were taken by the other; `spliced` of them never
  /// visited the process.
  virtual void moved(Side from, std::uint64_t bytes, std::uint64_t spliced) = 0;

 protected:
  ~Meter() = default;
};

struct Limits {
  base::Milliseconds idle{};
  bool truncation_resets = true;  // false: a truncation is passed on as a FIN
  Mode mode = Mode::kAuto;
  Thresholds thresholds = {};
};

/// All that it is given by reference must live until it returns. Runs on the worker's thread.
uring::Task<Outcome> run(uring::Ring& ring, uring::Stop& stop, net::Stream& client, net::Stream& target,
                         Pools& pools, const Limits& limits, Meter& meter);

}  // namespace tlsplice::relay
