#include "client_header.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>

#include "tlsplice/net/stream.hpp"
#include "tlsplice/proxy_protocol/reader.hpp"
#include "tlsplice/uring/ops.hpp"

namespace tlsplice::session {
namespace {

using base::Fault;
using Chunk = std::array<std::byte, 256>;

/// recv(2) of what belongs to the header, as much as is there: bytes, 0 at the end, or -1 and errno.
ssize_t receive(int socket, const proxy_protocol::HeaderReader& reader, Chunk& into) {
  std::size_t size = std::min(reader.wanted(), into.size());
  if (reader.up_to_newline()) {
    const ssize_t seen = ::recv(socket, into.data(), size, MSG_PEEK);
    if (seen <= 0) return seen;
    size = static_cast<std::size_t>(seen);
    const void* const newline = std::memchr(into.data(), '\n', size);
    if (newline != nullptr)
      size = static_cast<std::size_t>(static_cast<const std::byte*>(newline) - into.data()) + 1;
  }
  return ::recv(socket, into.data(), size, 0);
}

}  // namespace

uring::Task<base::Result<std::optional<net::Address>>> receive_header(uring::Ring& ring, uring::Stop& stop,
                                                                      int socket, base::Milliseconds limit) {
  proxy_protocol::HeaderReader reader;
  uring::Stop within(stop);
  const uring::Deadline deadline(ring, within, limit);
  Chunk chunk;
  while (reader.wanted() > 0) {
    const ssize_t n = receive(socket, reader, chunk);
    if (n > 0) {
      auto taken = reader.take(std::span(chunk).first(static_cast<std::size_t>(n)));
      if (!taken) co_return base::fail(std::move(taken.error()));
    } else if (n == 0) {
      co_return base::fail({Fault::kClosed, 0, "no proxy protocol header: the connection ended before it"});
    } else if (const int error = errno;
               net::status_of(error, net::IoStatus::kWantRead) != net::IoStatus::kWantRead) {
      co_return base::fail({Fault::kReset, error, "no proxy protocol header"});
    } else if (co_await uring::readable(ring, within, socket) < 0) {
      const bool late = deadline.expired() && !stop.requested();
      co_return base::fail({late ? Fault::kTimedOut : Fault::kStopped, 0,
                            "no proxy protocol header: not in time, and this peer's connections must begin "
                            "with one"});
    }
  }
  co_return reader.client();
}

}  // namespace tlsplice::session
