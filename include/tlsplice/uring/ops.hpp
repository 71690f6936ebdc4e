// What a coroutine can wait for. Each awaitable yields the kernel's answer: a result >= 0, or a negative
// errno; -ECANCELED when its Stop was requested. Descriptors must stay open until the await returns.
#pragma once

#include <coroutine>
#include <cstddef>
#include <span>

#include "tlsplice/base/fd.hpp"
#include "tlsplice/base/result.hpp"
#include "tlsplice/net/address.hpp"
#include "tlsplice/uring/ring.hpp"
#include "tlsplice/uring/task.hpp"

namespace tlsplice::uring {

/// One poll(2) round on the ring; yields the events that are up.
class [[nodiscard]] Poll final : private Op {
 public:
  Poll(Ring& ring, Stop& stop, int fd, unsigned events) : Op(ring, stop), fd_(fd), events_(events) {}
  bool await_ready();
  void await_suspend(std::coroutine_handle<> waiter);
  int await_resume() const { return result(); }

 private:
  int fd_;
  unsigned events_;
};

/// Data, an end or an error can be read.
Poll readable(Ring& ring, Stop& stop, int fd);

/// Waits for an error, a full hang-up, or `also` on a socket whose peer may have ended its direction; yields
/// the events. The ring's poll always reports POLLRDHUP (IO_POLL_UNMASK in the kernel's io_uring/poll.c),
/// which such a socket shows for ever: so this is a multishot poll, which reports a state only when it is
/// entered, and passes over RDHUP.
class [[nodiscard]] Failure final : private Op {
 public:
  Failure(Ring& ring, Stop& stop, int fd, unsigned also = 0) : Op(ring, stop), fd_(fd), also_(also) {}
  bool await_ready();
  void await_suspend(std::coroutine_handle<> waiter);
  int await_resume() const { return result(); }

 private:
  bool satisfied_by(int result) const override;
  void prepare_again(io_uring_sqe* entry) override;

  int fd_;
  unsigned also_;
};

/// Something can be written, or never will be.
Failure writable(Ring& ring, Stop& stop, int fd);

/// connect(2) on a non-blocking socket; yields 0 or the negative errno.
class [[nodiscard]] Connect final : private Op {
 public:
  Connect(Ring& ring, Stop& stop, int fd, const net::Address& address)
      : Op(ring, stop), fd_(fd), address_(address) {}
  bool await_ready();
  void await_suspend(std::coroutine_handle<> waiter);
  int await_resume() const { return result(); }

 private:
  int fd_;
  net::Address address_;  // the kernel may read it as late as submission
};

/// A connected, non-blocking socket towards `address`, or why there is none: kRefused, kTimedOut, kStopped,
/// kExhausted. `source` is whose address it comes from (net::stream_socket_from); empty: this host's own.
Task<base::Result<base::Fd>> connect(Ring& ring, Stop& stop, net::Address address, base::Milliseconds limit,
                                     net::Address source = {});

/// splice(2) by the ring, between a socket and a pipe, non-blocking on both; yields the bytes moved. Kernels
/// so far hand each one to a worker thread (trap 71), so `from` and `to` should be ready.
class [[nodiscard]] Splice final : private Op {
 public:
  Splice(Ring& ring, Stop& stop, int from, int to, std::size_t bytes_max)
      : Op(ring, stop), from_(from), to_(to), bytes_max_(bytes_max) {}
  bool await_ready();
  void await_suspend(std::coroutine_handle<> waiter);
  int await_resume() const { return result(); }

 private:
  int from_;
  int to_;
  std::size_t bytes_max_;
};

class [[nodiscard]] Sleep final : private Timer, private Stoppable {
 public:
  Sleep(Ring& ring, Stop& stop, base::Milliseconds length) : Timer(ring), stop_(stop), length_(length) {}
  bool await_ready() const { return stop_.requested(); }
  void await_suspend(std::coroutine_handle<> waiter);
  int await_resume() const;

 private:
  void fire() override;
  void stop() override;

  Stop& stop_;
  base::Milliseconds length_;
  std::coroutine_handle<> waiter_;
};

/// Goes on when the ring's queue comes to it.
template <void (Ring::*Post)(std::coroutine_handle<>)>
class [[nodiscard]] Turn {
 public:
  explicit Turn(Ring& ring) : ring_(ring) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) const { (ring_.*Post)(waiter); }
  void await_resume() const noexcept {}

 private:
  Ring& ring_;
};

/// Lets everyone else have a turn.
using Yield = Turn<&Ring::post>;
/// Before something that computes for long: lets everyone have a turn who only moves bytes, and those who
/// wait here already.
using LongStep = Turn<&Ring::post_long_step>;

}  // namespace tlsplice::uring
