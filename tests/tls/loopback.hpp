// TCP connections over loopback and the ring that serves them, for the tests of tls, relay and session. Our
// end of a connection is as accept leaves it: non-blocking. The peer's end blocks, with a time limit, and is
// served by a thread of the test's own, or by the test itself where nothing can block.
#pragma once

#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <optional>
#include <string>
#include <string_view>

#include "tlsplice/base/expect.hpp"
#include "tlsplice/base/fd.hpp"
#include "tlsplice/net/address.hpp"
#include "tlsplice/net/socket.hpp"
#include "tlsplice/uring/ops.hpp"
#include "tlsplice/uring/ring.hpp"
#include "tlsplice/uring/task.hpp"

namespace tlsplice::tests {

/// What no step of a test takes: after it the step has failed.
inline constexpr base::Milliseconds kPatience{20'000};

/// A ring and what runs on it. A flow that does not end within kPatience is stopped, which no test takes for
/// its end.
class World {
 public:
  World() {
    ::signal(SIGPIPE, SIG_IGN);  // as the master does: splice(2) has no MSG_NOSIGNAL
    auto made = uring::Ring::create(256);
    TLSPLICE_EXPECT(made.has_value(), "the tests need io_uring");
    ring_ = std::move(*made);
  }
  ~World() { TLSPLICE_EXPECT(uring::live_frames() == 0, "a test left coroutine frames behind"); }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  uring::Ring& ring() { return *ring_; }
  uring::Stop& stop() { return stop_; }
  std::size_t rounds() const { return rounds_; }

  template <typename T>
  T run(uring::Task<T> task) {
    run_for(base::Milliseconds(0));  // the ring's time stood still since its last round
    std::optional<T> result;
    uring::Gate gate(*ring_);
    uring::spawn(gate, keep(std::move(task), result));
    run_until_empty(gate);
    return std::move(*result);
  }
  void run(uring::Task<void> task) {
    run_for(base::Milliseconds(0));
    uring::Gate gate(*ring_);
    uring::spawn(gate, std::move(task));
    run_until_empty(gate);
  }
  void run_until_empty(const uring::Gate& gate) {
    const uring::Deadline patience(*ring_, stop_, kPatience);
    while (gate.inside() > 0) round();
  }
  /// Serves whatever is in flight for a while.
  void run_for(base::Milliseconds length) {
    uring::Gate gate(*ring_);
    uring::spawn(gate, sleep(length));
    while (gate.inside() > 0) round();
  }

 private:
  template <typename T>
  static uring::Task<void> keep(uring::Task<T> task, std::optional<T>& result) {
    result.emplace(co_await std::move(task));
  }
  uring::Task<void> sleep(base::Milliseconds length) { co_await uring::Sleep(*ring_, stop_, length); }
  void round() {
    TLSPLICE_EXPECT(ring_->run_once().has_value(), "the ring works");
    ++rounds_;
  }

  std::unique_ptr<uring::Ring> ring_;
  uring::Stop stop_;
  std::size_t rounds_ = 0;
};

/// A TCP connection: our end, and the peer's.
struct Connection {
  base::Fd ours;
  base::Fd peer;
};

inline void set_option(int socket, int level, int name, int value) {
  TLSPLICE_EXPECT(::setsockopt(socket, level, name, &value, sizeof value) == 0, "a socket option can be set");
}

inline void limit_waiting(int socket) {
  const timeval limit{.tv_sec = kPatience.count() / 1000, .tv_usec = 0};
  (void)::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  (void)::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

/// A listening socket on a port of its own, whose accepted sockets have buffers of that size when it is not
/// 0.
inline base::Fd listening(int buffer_bytes = 0, int backlog = 128) {
  base::Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (buffer_bytes != 0) {
    set_option(socket.get(), SOL_SOCKET, SO_SNDBUF, buffer_bytes);
    set_option(socket.get(), SOL_SOCKET, SO_RCVBUF, buffer_bytes);
  }
  const auto any = net::Address::parse("127.0.0.1", 0);
  TLSPLICE_EXPECT(::bind(socket.get(), any->data(), any->size()) == 0 && ::listen(socket.get(), backlog) == 0,
                  "the tests can listen on loopback");
  return socket;
}

/// A blocking connection to what listens there.
inline base::Fd dial(const net::Address& address, int buffer_bytes = 0) {
  base::Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (buffer_bytes != 0) {
    set_option(socket.get(), SOL_SOCKET, SO_SNDBUF, buffer_bytes);
    set_option(socket.get(), SOL_SOCKET, SO_RCVBUF, buffer_bytes);
  }
  TLSPLICE_EXPECT(::connect(socket.get(), address.data(), address.size()) == 0,
                  "the tests can connect on loopback");
  set_option(socket.get(), IPPROTO_TCP, TCP_NODELAY, 1);
  limit_waiting(socket.get());
  return socket;
}

inline Connection connection(int buffer_bytes = 0) {
  const base::Fd listener = listening(buffer_bytes);
  base::Fd peer = dial(net::local_address(listener.get()), buffer_bytes);
  auto accepted = net::accept(listener.get());
  TLSPLICE_EXPECT(accepted.has_value(), "the tests can accept");
  net::set_no_delay(accepted->socket.get());
  return {std::move(accepted->socket), std::move(peer)};
}

/// How the other side ended, as a plain socket sees it.
enum class Saw { kFin, kReset, kNothing };

struct Received {
  std::string bytes;
  Saw end = Saw::kNothing;
};

/// Everything up to the end of the other side, or up to `limit` bytes.
inline Received receive(int socket, std::size_t limit = std::string::npos) {
  Received received;
  std::string piece(64 * 1024, '\0');
  while (received.bytes.size() < limit) {
    const std::size_t want = std::min(piece.size(), limit - received.bytes.size());
    const ssize_t n = ::recv(socket, piece.data(), want, 0);
    if (n == 0) received.end = Saw::kFin;
    if (n < 0 && errno != EAGAIN) received.end = Saw::kReset;
    if (n <= 0) break;
    received.bytes.append(piece, 0, static_cast<std::size_t>(n));
  }
  return received;
}

/// False when the other side took no more.
inline bool send_all(int socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

inline void end_write(const base::Fd& socket) {
  ::shutdown(socket.get(), SHUT_WR);
}

inline void reset(base::Fd& socket) {
  net::reset_on_close(socket.get());
  socket.reset();
}

/// Bytes that differ by seed and place, so that nothing lost, doubled or foreign compares equal.
inline std::string pattern(std::size_t size, std::uint64_t seed) {
  std::string bytes(size, '\0');
  std::uint64_t state = seed * 0x9e3779b97f4a7c15ULL + 1;
  for (char& byte : bytes) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    byte = static_cast<char>(state >> 56);
  }
  return bytes;
}

}  // namespace tlsplice::tests
