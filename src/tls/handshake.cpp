#include "tlsplice/tls/handshake.hpp"

#include <sys/socket.h>

#include <array>

namespace tlsplice::tls {
namespace {

using net::IoStatus;

// How long, and for how many bytes, a client whose handshake failed is listened to so that it can read our
// alert: closing with unread bytes would send a reset that overtakes it.
constexpr base::Milliseconds kFarewell{1000};
constexpr int kFarewellReads = 16;

HandshakeError error_of(IoStatus status, const uring::Deadline& deadline, const TlsStream& stream) {
  switch (status) {
    case IoStatus::kEnd:
    case IoStatus::kTruncated:
      return {{base::Fault::kClosed, 0, "the peer closed the connection"}};
    case IoStatus::kReset:
      return {{base::Fault::kReset, 0, "the peer reset the connection"}};
    case IoStatus::kExhausted:
      return {{base::Fault::kExhausted, 0, "out of memory"}};
    case IoStatus::kBroken:
      return {{base::Fault::kProtocol, 0, stream.failure()}, stream.negotiation_error()};
    case IoStatus::kDone:
    case IoStatus::kWantRead:
    case IoStatus::kWantWrite:
      break;
  }
  if (deadline.expired()) return {{base::Fault::kTimedOut, 0, "not finished in time"}};
  return {{base::Fault::kStopped, 0, "stopped"}};
}

/// A helper of its own, so that the buffer is no part of a coroutine's frame. False at the end.
bool discard_some(int fd) {
  std::array<char, 4096> ignored;
  return ::recv(fd, ignored.data(), ignored.size(), 0) > 0;
}

/// A helper of its own for the same reason. Who only moves bytes need not wait for all of it.
net::Io take_step(TlsStream& stream, uring::Ring& ring) {
  return stream.handshake([&ring] { ring.give_way(); });
}

uring::Task<void> farewell(uring::Ring& ring, uring::Stop& stop, int fd) {
  uring::Stop within(stop);
  const uring::Deadline deadline(ring, within, kFarewell);
  ::shutdown(fd, SHUT_WR);
  for (int round = 0; round < kFarewellReads; ++round) {
    if (co_await uring::readable(ring, within, fd) < 0) co_return;
    if (!discard_some(fd)) co_return;
  }
}

}  // namespace

uring::Task<Handshaken> handshake(uring::Ring& ring, uring::Stop& stop, base::Fd socket,
                                  const Context& context, TlsStream::Role role, base::Milliseconds limit,
                                  std::string_view alpn) {
  auto stream = TlsStream::create(std::move(socket), context, role, alpn);
  if (!stream) co_return std::unexpected(HandshakeError{{base::Fault::kExhausted, 0, "out of memory"}});
  net::Io io;
  HandshakeError error;
  {
    uring::Stop within(stop);
    const uring::Deadline deadline(ring, within, limit);
    // The client's first bytes are rarely there as soon as its connection is.
    if (role == TlsStream::Role::kServer) co_await uring::readable(ring, within, stream->fd());
    for (;;) {
      co_await uring::LongStep(ring);
      if (within.requested()) break;
      io = take_step(*stream, ring);
      if (io.status == IoStatus::kDone) co_return stream;
      if (io.status == IoStatus::kWantRead) {
        co_await uring::readable(ring, within, stream->fd());
      } else if (io.status == IoStatus::kWantWrite) {
        co_await uring::writable(ring, within, stream->fd());
      } else {
        break;
      }
    }
    error = error_of(io.status, deadline, *stream);
    error.valid_hello = stream->valid_hello();
    error.incoming_alert = stream->notes().incoming_alert;
    error.server_name = stream->server_name();
    error.alpn_offer = stream->alpn_offer();
  }
  if (error.fault == base::Fault::kProtocol && role == TlsStream::Role::kServer) {
    co_await farewell(ring, stop, stream->fd());
  }
  co_return std::unexpected(std::move(error));
}

}  // namespace tlsplice::tls
