#include "coalescing.hpp"

#include <sys/socket.h>

#include <new>
#include <utility>

namespace tlsplice::relay {
namespace {

// Of a receive buffer: a mark that it has to grow for would also limit the window (tcp_set_rcvlowat() in the
// kernel's net/ipv4/tcp.c).
constexpr int kReceiveBufferBytesMin = 4 * Coalescing::kLowWater;

bool set_low_water(int fd, int bytes) {
  return ::setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes) == 0;
}

}  // namespace

std::unique_ptr<Coalescing> Coalescing::of(uring::Ring& ring, int fd) {
  return std::unique_ptr<Coalescing>(new (std::nothrow) Coalescing(ring, fd));
}

void Coalescing::moved(std::uint64_t bytes) {
  bytes_ = bytes;
  if (active() || bytes_ - window_from_ < kWindowBytes) return;
  const base::Instant began = std::exchange(window_began_, ring().now());
  window_from_ = bytes_;
  if (window_began_ - began <= kWindow && bytes_ - row_from_ >= kRowBytes) begin();
}

void Coalescing::begin() {
  int room = 0;
  socklen_t size = sizeof room;
  if (::getsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &room, &size) != 0 || room < kReceiveBufferBytesMin) return;
  if (!set_low_water(fd_, kLowWater)) return;
  seen_ = bytes_;
  arm(ring().now() + kPause);
}

/// The kernel wakes who waits when the mark sinks below what is there.
void Coalescing::fire() {
  if (bytes_ != seen_) {
    seen_ = bytes_;
    arm(ring().now() + kPause);
  } else {
    (void)set_low_water(fd_, 1);
  }
}

}  // namespace tlsplice::relay
