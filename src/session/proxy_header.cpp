#include "proxy_header.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <span>

#include "tlsplice/proxy_protocol/header.hpp"
#include "tlsplice/uring/ops.hpp"

namespace tlsplice::session {

using namespace std::string_view_literals;
using net::Io;
using net::IoStatus;

std::vector<std::byte> Introduction::header() const {
  proxy_protocol::Extras extras;
  if (settings.alpn && flow.alpn != "-"sv) extras.alpn = flow.alpn;
  if (settings.authority) extras.authority = flow.server_name;
  if (settings.ssl && flow.tls) extras.tls = {.version = flow.protocol, .cipher = flow.cipher};
  return proxy_protocol::proxy_header(flow.client, flow.destination, extras);
}

uring::Task<base::Result<void>> send_header(uring::Ring& ring, uring::Stop& stop, int target_socket,
                                            Introduction introduction, bool more, base::Milliseconds limit) {
  const std::vector<std::byte> header = introduction.header();
  uring::Stop within(stop);
  const uring::Deadline deadline(ring, within, limit);
  for (auto left = std::span(header); !left.empty();) {
    const ssize_t n = ::send(target_socket, left.data(), left.size(), MSG_NOSIGNAL | (more ? MSG_MORE : 0));
    if (n >= 0) {
      left = left.subspan(static_cast<std::size_t>(n));
    } else if (const int error = errno; net::status_of(error, IoStatus::kWantWrite) != IoStatus::kWantWrite) {
      co_return base::fail(
          {base::Fault::kReset, error, fmt::format("the header to {}", introduction.flow.target.text())});
    } else if (co_await uring::writable(ring, within, target_socket) < 0) {
      const bool late = deadline.expired() && !stop.requested();
      co_return base::fail({late ? base::Fault::kTimedOut : base::Fault::kStopped, 0,
                            fmt::format("the header to {}: not taken", introduction.flow.target.text())});
    }
  }
  co_return base::Result<void>();
}

Io HeadedStream::write(std::span<const std::byte> from) {
  if (done_) return SocketStream::write(from);
  const std::vector<std::byte> header = introduction_.header();
  const auto left = std::span(header).subspan(sent_bytes_);
  // The kernel reads from both.
  iovec parts[] = {{const_cast<std::byte*>(left.data()), left.size()},
                   {const_cast<std::byte*>(from.data()), from.size()}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = std::size(parts);
  return sent(::sendmsg(fd(), &message, MSG_NOSIGNAL), left.size());
}

Io HeadedStream::end_write() {
  const Io ahead = send_ahead();
  return ahead.status == IoStatus::kDone ? SocketStream::end_write() : ahead;
}

Io HeadedStream::send_ahead() {
  if (done_) return {};
  const std::vector<std::byte> header = introduction_.header();
  const auto left = std::span(header).subspan(sent_bytes_);
  const Io io = sent(::send(fd(), left.data(), left.size(), MSG_NOSIGNAL | MSG_MORE), left.size());
  return done_ ? Io{} : io;
}

/// How many bytes of what was sent came after the header.
Io HeadedStream::sent(std::ptrdiff_t bytes, std::size_t header_left) {
  if (bytes < 0) return {net::status_of(errno, IoStatus::kWantWrite), 0};
  const auto taken = static_cast<std::size_t>(bytes);
  done_ = taken >= header_left;
  sent_bytes_ = static_cast<std::uint16_t>(sent_bytes_ + std::min(taken, header_left));
  if (taken <= header_left) return {IoStatus::kWantWrite, 0};
  return {IoStatus::kDone, taken - header_left};
}

}  // namespace tlsplice::session
