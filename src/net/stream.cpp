#include "tlsplice/net/stream.hpp"

#include <sys/socket.h>

#include <cerrno>

namespace tlsplice::net {

IoStatus status_of(int errnum, IoStatus again) {
  switch (errnum) {
    case EAGAIN:
    case EINTR:
      return again;
    default:
      // ECONNRESET and EPIPE are the peer's reset; ETIMEDOUT, EHOSTUNREACH and their kin are a peer that is
      // gone. The other side must see every one of them as a reset: the bytes so far may be cut short.
      return IoStatus::kReset;
  }
}

Io Stream::spliced_out(ssize_t result) {
  if (result > 0) return {IoStatus::kDone, static_cast<std::size_t>(result)};
  if (result == 0) return {IoStatus::kEnd, 0};
  return {status_of(static_cast<int>(-result), IoStatus::kWantRead), 0};
}

Io Stream::spliced_in(ssize_t result) {
  if (result >= 0) return {IoStatus::kDone, static_cast<std::size_t>(result)};
  return {status_of(static_cast<int>(-result), IoStatus::kWantWrite), 0};
}

Io SocketStream::read(std::span<std::byte> into) {
  const ssize_t n = ::recv(socket_.get(), into.data(), into.size(), 0);
  if (n < 0) return {status_of(errno, IoStatus::kWantRead), 0};
  if (n == 0) return {IoStatus::kEnd, 0};
  // A short read has emptied the queue; what comes later makes the socket readable again.
  drained_ = static_cast<std::size_t>(n) < into.size();
  return {IoStatus::kDone, static_cast<std::size_t>(n)};
}

Io SocketStream::write(std::span<const std::byte> from) {
  const ssize_t n = ::send(socket_.get(), from.data(), from.size(), MSG_NOSIGNAL);
  if (n < 0) return {status_of(errno, IoStatus::kWantWrite), 0};
  return {IoStatus::kDone, static_cast<std::size_t>(n)};
}

Io SocketStream::end_write() {
  if (::shutdown(socket_.get(), SHUT_WR) != 0) return {status_of(errno, IoStatus::kWantWrite), 0};
  return {IoStatus::kDone, 0};
}

}  // namespace tlsplice::net
