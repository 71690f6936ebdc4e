#include "tlsplice/relay/pools.hpp"

#include <fcntl.h>
#include <unistd.h>

namespace tlsplice::relay {
namespace {

// Room for a burst between two wake-ups. An unprivileged user has pipe-user-pages-soft (64 MiB by default) in
// all; when that is spent the kernel refuses to grow the pipe, and the default of 64 KiB does.
constexpr int kPipeBytes = 256 * 1024;

}  // namespace

BufferPool::Buffer BufferPool::take() {
  if (free_.empty()) return Buffer(static_cast<std::byte*>(std::malloc(kBufferBytes)));
  Buffer buffer = std::move(free_.back());
  free_.pop_back();
  return buffer;
}

void BufferPool::give_back(Buffer buffer) {
  if (buffer && free_.size() < kKept) free_.push_back(std::move(buffer));
}

std::unique_ptr<Pipe> PipePool::take() {
  if (!free_.empty()) {
    auto pipe = std::move(free_.back());
    free_.pop_back();
    return pipe;
  }
  int ends[2];
  if (::pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return nullptr;
  (void)::fcntl(ends[1], F_SETPIPE_SZ, kPipeBytes);
  return std::make_unique<Pipe>(Pipe{base::Fd(ends[0]), base::Fd(ends[1])});
}

void PipePool::give_back(std::unique_ptr<Pipe> pipe) {
  if (pipe && pipe->bytes == 0 && free_.size() < kKept) free_.push_back(std::move(pipe));
}

}  // namespace tlsplice::relay
