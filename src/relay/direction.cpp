#include "direction.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>

namespace tlsplice::relay {
namespace {

using net::Io;
using net::IoStatus;
using net::Splicing;
using Next = Step::Next;

// Rounds of reading and writing before others have a turn: 1 MiB of a bulk flow.
constexpr int kRoundsPerTurn = 16;
// Asked of one splice(2) from a socket; it moves what the pipe has room for.
constexpr std::size_t kSpliceBytes = 1024 * 1024;

// Both SPLICE_F_NONBLOCK and O_NONBLOCK: the flag alone still blocks on a plain socket, the socket's mode
// alone on others.
constexpr unsigned kSpliceFlags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK;

bool wants(IoStatus status) {
  return status == IoStatus::kWantRead || status == IoStatus::kWantWrite;
}

}  // namespace

Direction::Direction(net::Stream& from, net::Stream& to, Pools& pools, const Limits& limits)
    : from_(from),
      to_(to),
      pools_(pools),
      limits_(limits),
      always_splices_((limits.mode == Mode::kSplice || limits.mode == Mode::kUringSplice) &&
                      may_splice(Splicing::kPossible)),
      splicing_(always_splices_) {}

Direction::~Direction() {
  release();
}

void Direction::release() {
  pools_.buffers.give_back(std::move(buffer_));
  pools_.pipes.give_back(std::move(pipe_));
}

bool Direction::may_splice(Splicing least) const {
  return from_.splices_out() >= least && to_.splices_in() >= least;
}

Step Direction::advance() {
  return splicing_ && !read_is_due_ ? splice() : copy();
}

Step Direction::copy() {
  for (int round = 0; round < kRoundsPerTurn; ++round) {
    if (begin_ == end_) {
      // The first read of a call follows a wake-up and must be tried; later ones only if something is left.
      if (round > 0 && from_.drained()) {
        release();
        return {Next::kWaitFrom, IoStatus::kWantRead};
      }
      const Step filled = fill_buffer();
      if (filled.next != Next::kTurn) return filled;
    }
    const Io io = to_.write({buffer_.get() + begin_, end_ - begin_});
    if (wants(io.status)) return {Next::kWaitTo, io.status};
    if (io.status != IoStatus::kDone) return {Next::kToFailed, io.status};
    begin_ += io.bytes;
    bytes_ += io.bytes;
    if (begin_ < end_) continue;
    const bool bulk = limits_.mode == Mode::kAuto && end_ >= limits_.thresholds.splice_from;
    if (always_splices_ || (bulk && may_splice(Splicing::kWorthIt))) {
      splicing_ = true;
      spliced_at_last_wait_ = spliced_;
      release();
      return {Next::kTurn};
    }
  }
  return {Next::kTurn};
}

/// kTurn when there are bytes to write.
Step Direction::fill_buffer() {
  if (!buffer_) buffer_ = pools_.buffers.take();
  if (!buffer_) return {Next::kExhausted};
  read_is_due_ = false;
  const Io io = from_.read({buffer_.get(), kBufferBytes});
  if (io.status != IoStatus::kDone) {
    release();
    return {wants(io.status) ? Next::kWaitFrom : Next::kFromEnded, io.status};
  }
  begin_ = 0;
  end_ = static_cast<std::uint32_t>(io.bytes);
  return {Next::kTurn};
}

Step Direction::splice() {
  for (int round = 0; round < 2 * kRoundsPerTurn; ++round) {
    const Step begun = begin_splice();
    if (begun.next != Next::kSplice || limits_.mode == Mode::kUringSplice) return begun;
    const Splice due = splice_due();
    const ssize_t n = ::splice(due.from, nullptr, due.to, nullptr, due.bytes, kSpliceFlags);
    const Step step = spliced(n < 0 ? -errno : n);
    if (step.next != Next::kTurn || !splicing_ || read_is_due_) return step;
  }
  return {Next::kTurn};
}

/// kSplice when there is a pipe and the sink allows it.
Step Direction::begin_splice() {
  if (!pipe_) pipe_ = pools_.pipes.take();
  if (!pipe_) {
    read_is_due_ = true;  // without a pipe this turn copies
    return {Next::kTurn};
  }
  if (pipe_->bytes == 0) return {Next::kSplice};
  const Io io = to_.may_splice_in();
  return io.status == IoStatus::kDone ? Step{Next::kSplice} : pipe_emptied(io);
}

Splice Direction::splice_due() const {
  if (pipe_->bytes == 0) return {from_.fd(), pipe_->write_end.get(), kSpliceBytes};
  return {pipe_->read_end.get(), to_.fd(), pipe_->bytes};
}

Step Direction::spliced(ssize_t result) {
  return pipe_->bytes == 0 ? pipe_filled(from_.spliced_out(result)) : pipe_emptied(to_.spliced_in(result));
}

Step Direction::pipe_filled(Io io) {
  if (io.status == IoStatus::kDone && io.bytes > 0) {
    pipe_->bytes = io.bytes;
    return {Next::kTurn};
  }
  release();
  if (io.status == IoStatus::kDone) {
    read_is_due_ = true;
    return {Next::kTurn};
  }
  if (!wants(io.status)) return {Next::kFromEnded, io.status};
  // A wake-up that brought little came from a quiet stream: copying is cheaper than two calls on a pipe
  // there.
  if (!always_splices_ && spliced_ - spliced_at_last_wait_ < limits_.thresholds.copy_below) splicing_ = false;
  spliced_at_last_wait_ = spliced_;
  return {Next::kWaitFrom, io.status};
}

Step Direction::pipe_emptied(Io io) {
  if (wants(io.status)) return {Next::kWaitTo, io.status};
  if (io.status != IoStatus::kDone) return {Next::kToFailed, io.status};
  pipe_->bytes -= io.bytes;
  bytes_ += io.bytes;
  spliced_ += io.bytes;
  return {Next::kTurn};
}

}  // namespace tlsplice::relay
