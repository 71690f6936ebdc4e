// TCP connections over loopback for the tests of net: our end non-blocking as accept leaves it, the peer's
// end blocking with a limit on its patience.
#pragma once

#include <poll.h>
#include <sys/socket.h>

#include "tlsplice/base/expect.hpp"
#include "tlsplice/net/socket.hpp"

namespace tlsplice::tests {

inline net::Address loopback(int family) {
  return *net::Address::parse(family == AF_INET6 ? "::1" : "127.0.0.1", 0);
}

/// A blocking connection to what listens there.
inline base::Fd dial(const net::Address& address) {
  base::Fd socket(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval patience{.tv_sec = 30, .tv_usec = 0};
  (void)::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  (void)::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  TLSPLICE_EXPECT(::connect(socket.get(), address.data(), address.size()) == 0,
                  "the tests can connect on loopback");
  return socket;
}

inline void wait_for(int fd, short events) {
  pollfd waited{.fd = fd, .events = events, .revents = 0};
  TLSPLICE_EXPECT(::poll(&waited, 1, 30'000) == 1, "what a test waits for comes");
}

inline net::Accepted accept_one(int listener) {
  wait_for(listener, POLLIN);
  auto accepted = net::accept(listener);
  TLSPLICE_EXPECT(accepted.has_value(), "the tests can accept");
  return std::move(*accepted);
}

inline net::Address address_of(const base::Fd& listener) {
  return net::local_address(listener.get());
}

struct Connection {
  base::Fd ours;
  base::Fd peer;
};

inline Connection connection(int family = AF_INET) {
  const auto listener = net::listen(loopback(family));
  TLSPLICE_EXPECT(listener.has_value(), "the tests can listen on loopback");
  base::Fd peer = dial(address_of(*listener));
  net::Accepted accepted = accept_one(listener->get());
  return {std::move(accepted.socket), std::move(peer)};
}

}  // namespace tlsplice::tests
