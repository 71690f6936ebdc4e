#include "tlsplice/uring/ops.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <liburing.h>
#include <poll.h>

#include <cerrno>

#include "tlsplice/net/socket.hpp"

namespace tlsplice::uring {

io_uring_sqe* next_entry(Ring& ring);

bool Poll::await_ready() {
  if (stopped()) answer(-ECANCELED);
  return stopped();
}

void Poll::await_suspend(std::coroutine_handle<> waiter) {
  io_uring_sqe* entry = next_entry(ring());
  io_uring_prep_poll_add(entry, fd_, events_);
  start(waiter, entry);
}

Poll readable(Ring& ring, Stop& stop, int fd) {
  return {ring, stop, fd, POLLIN};
}

bool Failure::await_ready() {
  if (stopped()) answer(-ECANCELED);
  return stopped();
}

void Failure::await_suspend(std::coroutine_handle<> waiter) {
  io_uring_sqe* entry = next_entry(ring());
  prepare_again(entry);
  start(waiter, entry);
}

void Failure::prepare_again(io_uring_sqe* entry) {
  io_uring_prep_poll_multishot(entry, fd_, POLLERR | POLLHUP | also_);
}

Failure writable(Ring& ring, Stop& stop, int fd) {
  return {ring, stop, fd, POLLOUT};
}

bool Failure::satisfied_by(int result) const {
  return result < 0 || (static_cast<unsigned>(result) & (POLLERR | POLLHUP | also_)) != 0;
}

bool Connect::await_ready() {
  if (stopped()) answer(-ECANCELED);
  return stopped();
}

void Connect::await_suspend(std::coroutine_handle<> waiter) {
  io_uring_sqe* entry = next_entry(ring());
  io_uring_prep_connect(entry, fd_, address_.data(), address_.size());
  start(waiter, entry);
}

bool Splice::await_ready() {
  if (stopped()) answer(-ECANCELED);
  return stopped();
}

void Splice::await_suspend(std::coroutine_handle<> waiter) {
  io_uring_sqe* entry = next_entry(ring());
  constexpr std::int64_t kNoOffset = -1;
  io_uring_prep_splice(entry, from_, kNoOffset, to_, kNoOffset, static_cast<unsigned>(bytes_max_),
                       SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  start(waiter, entry);
}

Task<base::Result<base::Fd>> connect(Ring& ring, Stop& stop, net::Address address, base::Milliseconds limit,
                                     net::Address source) {
  auto socket = source.family() == AF_UNSPEC ? net::stream_socket(address) : net::stream_socket_from(source);
  if (!socket) co_return socket;
  Stop within(stop);
  const Deadline deadline(ring, within, limit);
  const int error = -co_await Connect(ring, within, socket->get(), address);
  if (error == 0) co_return socket;
  auto failure = base::Error::system(fmt::format("connect {}", address.text()), error);
  if (error == ECANCELED && deadline.expired() && !stop.requested()) failure.fault = base::Fault::kTimedOut;
  // A reset in answer to our SYN and a reset right after it look alike to whoever chooses targets.
  if (failure.fault == base::Fault::kReset) failure.fault = base::Fault::kRefused;
  co_return base::fail(std::move(failure));
}

void Sleep::await_suspend(std::coroutine_handle<> waiter) {
  waiter_ = waiter;
  arm(ring().now() + length_);
  stop_.waiting_.push_back(*this);
}

int Sleep::await_resume() const {
  return stop_.requested() ? -ECANCELED : 0;
}

void Sleep::fire() {
  unlink();
  ring().post(waiter_);
}

void Sleep::stop() {
  disarm();
  unlink();
  ring().post(waiter_);
}

}  // namespace tlsplice::uring
