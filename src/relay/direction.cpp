#include "direction.hpp"

#include <fcntl.h>

#include <cerrno>

namespace tlsplice::relay {
namespace {

using net::Io;
using net::IoStatus;
using Next = Step::Next;

// Rounds of reading and writing before others have a turn: 1 MiB of a bulk flow.
constexpr int kRoundsPerTurn = 16;
// Asked of one splice(2) from a socket; it moves what the pipe has room for.
constexpr std::size_t kSpliceBytes = 1024 * 1024;
// A wake-up that brought less than this came from a quiet stream: copying is cheaper than two calls on a pipe
// there.
constexpr std::size_t kWorthSplicing = 16 * 1024;

bool wants(IoStatus status) {
  return status == IoStatus::kWantRead || status == IoStatus::kWantWrite;
}

// Both SPLICE_F_NONBLOCK and O_NONBLOCK: the flag alone still blocks on a plain socket, the socket's mode
// alone on others.
constexpr unsigned kSpliceFlags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK;

}  // namespace

Direction::~Direction() {
  release();
}

void Direction::release() {
  pools_.buffers.give_back(std::move(buffer_));
  pools_.pipes.give_back(std::move(pipe_));
}

Step Direction::advance() {
  return splicing_ ? splice() : copy();
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
    if (begin_ == end_ && end_ == kBufferBytes && from_.splices_out() && to_.splices_in()) {
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
  const Io io = from_.read({buffer_.get(), kBufferBytes});
  if (io.status != IoStatus::kDone) {
    release();
    return {wants(io.status) ? Next::kWaitFrom : Next::kFromEnded, io.status};
  }
  begin_ = 0;
  end_ = io.bytes;
  return {Next::kTurn};
}

Step Direction::splice() {
  for (int round = 0; round < kRoundsPerTurn; ++round) {
    if (!pipe_ || pipe_->bytes == 0) {
      const Step filled = fill_pipe();
      if (filled.next != Next::kTurn) return filled;
      if (!splicing_) return filled;
    }
    const ssize_t n = ::splice(pipe_->read_end.get(), nullptr, to_.fd(), nullptr, pipe_->bytes, kSpliceFlags);
    if (n < 0) {
      const IoStatus status = net::status_of(errno, IoStatus::kWantWrite);
      return {wants(status) ? Next::kWaitTo : Next::kToFailed, status};
    }
    pipe_->bytes -= static_cast<std::size_t>(n);
    bytes_ += static_cast<std::uint64_t>(n);
    spliced_ += static_cast<std::uint64_t>(n);
  }
  return {Next::kTurn};
}

/// kTurn when the pipe holds bytes, or when splicing_ was given up.
Step Direction::fill_pipe() {
  if (!pipe_) pipe_ = pools_.pipes.take();
  if (!pipe_) {
    splicing_ = false;
    return {Next::kTurn};
  }
  const ssize_t n =
      ::splice(from_.fd(), nullptr, pipe_->write_end.get(), nullptr, kSpliceBytes, kSpliceFlags);
  if (n > 0) {
    pipe_->bytes = static_cast<std::size_t>(n);
    return {Next::kTurn};
  }
  const IoStatus status = n == 0 ? IoStatus::kEnd : net::status_of(errno, IoStatus::kWantRead);
  release();
  // An error is told once: a read that came after it would see a clean end.
  if (n < 0 && status != IoStatus::kWantRead) return {Next::kFromEnded, status};
  if (n == 0 || spliced_ - spliced_at_last_wait_ < kWorthSplicing) splicing_ = false;
  spliced_at_last_wait_ = spliced_;
  return {n == 0 ? Next::kTurn : Next::kWaitFrom, IoStatus::kWantRead};
}

}  // namespace tlsplice::relay
