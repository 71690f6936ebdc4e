// One direction of a flow: moves bytes from one Stream to the other until a call would have to wait, and says
// what for. Small messages are copied through a leased buffer; a plain stream that fills its reads switches
// to splice(2) through a leased pipe, and back when it has run dry. Nothing is held while nothing is in
// flight. No coroutine here: flow.cpp waits.
#pragma once

#include <cstdint>
#include <memory>

#include "tlsplice/net/stream.hpp"
#include "tlsplice/relay/pools.hpp"

namespace tlsplice::relay {

struct Step {
  enum class Next : std::uint8_t {
    kWaitFrom,   // until the source is readable (or writable, if status says so)
    kWaitTo,     // until the sink is writable (or readable)
    kTurn,       // there is more, but others want a turn
    kFromEnded,  // the source has ended or failed: status says how; everything before it was written
    kToFailed,   // the sink takes no more: status says why
    kExhausted,  // no memory for a buffer
  };
  Next next;
  net::IoStatus status = net::IoStatus::kDone;
};

class Direction {
 public:
  Direction(net::Stream& from, net::Stream& to, Pools& pools) : from_(from), to_(to), pools_(pools) {}
  Direction(const Direction&) = delete;
  Direction& operator=(const Direction&) = delete;
  ~Direction();

  net::Stream& from() { return from_; }
  net::Stream& to() { return to_; }
  std::uint64_t bytes() const { return bytes_; }      // taken by the sink
  std::uint64_t spliced() const { return spliced_; }  // of these, by splice(2)

  Step advance();

 private:
  Step copy();
  Step splice();
  Step fill_buffer();
  Step fill_pipe();
  void release();

  net::Stream& from_;
  net::Stream& to_;
  Pools& pools_;
  BufferPool::Buffer buffer_;
  std::size_t begin_ = 0;  // buffer_[begin_, end_) waits to be written
  std::size_t end_ = 0;
  std::unique_ptr<Pipe> pipe_;
  bool splicing_ = false;
  std::uint64_t bytes_ = 0;
  std::uint64_t spliced_ = 0;
  std::uint64_t spliced_at_last_wait_ = 0;
};

}  // namespace tlsplice::relay
