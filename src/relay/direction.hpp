// One direction of a flow: moves bytes from one Stream to the other until a call would have to wait, and says
// what for. By default small messages are copied through a leased buffer; a stream that fills its reads
// switches to splice(2) through a leased pipe, and back when it has run dry. Nothing is held while nothing is
// in flight. No coroutine here: relay.cpp waits.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>

#include "tlsplice/net/stream.hpp"
#include "tlsplice/relay/pools.hpp"
#include "tlsplice/relay/relay.hpp"

namespace tlsplice::relay {

struct Step {
  enum class Next : std::uint8_t {
    kWaitFrom,   // until the source is readable (or writable, if status says so)
    kWaitTo,     // until the sink is writable (or readable)
    kSplice,     // let the ring do splice_due(), and tell spliced() what it said
    kTurn,       // there is more, but others want a turn
    kFromEnded,  // the source has ended or failed: status says how; everything before it was written
    kToFailed,   // the sink takes no more: status says why
    kExhausted,  // no memory for a buffer
  };
  Next next;
  net::IoStatus status = net::IoStatus::kDone;
};

/// One splice(2), non-blocking on both ends.
struct Splice {
  int from;
  int to;
  std::size_t bytes;  // at most
};

class Direction {
 public:
  /// All of them outlive it.
  Direction(net::Stream& from, net::Stream& to, Pools& pools, const Limits& limits);
  Direction(const Direction&) = delete;
  Direction& operator=(const Direction&) = delete;
  ~Direction();

  net::Stream& from() { return from_; }
  net::Stream& to() { return to_; }
  std::uint64_t bytes() const { return bytes_; }            // taken by the sink
  std::uint64_t spliced_bytes() const { return spliced_; }  // of these, by splice(2)

  Step advance();

  /// After kSplice: what is to be done, and then its result, a count or a negative errno. kTurn: go on at
  /// once.
  Splice splice_due() const;
  Step spliced(ssize_t result);

 private:
  bool may_splice(net::Splicing least) const;
  Step copy();
  Step splice();
  Step fill_buffer();
  Step begin_splice();
  Step pipe_filled(net::Io io);
  Step pipe_emptied(net::Io io);
  void release();

  net::Stream& from_;
  net::Stream& to_;
  Pools& pools_;
  const Limits& limits_;
  BufferPool::Buffer buffer_;
  std::uint32_t begin_ = 0;  // buffer_[begin_, end_) waits to be written
  std::uint32_t end_ = 0;
  std::unique_ptr<Pipe> pipe_;
  bool always_splices_;       // also what would cost less to copy
  bool splicing_;             // now
  bool read_is_due_ = false;  // of what the splice stopped at
  std::uint64_t bytes_ = 0;
  std::uint64_t spliced_ = 0;
  std::uint64_t spliced_at_last_wait_ = 0;
};

}  // namespace tlsplice::relay
