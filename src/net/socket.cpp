#include "tlsplice/net/socket.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace tlsplice::net {
namespace {

void set_option(int socket, int level, int name, int value) {
  // The options set here exist on every kernel we run on; failing means a socket that is already dead.
  (void)::setsockopt(socket, level, name, &value, sizeof value);
}

base::Result<base::Fd> bound_in_group(const Address& address) {
  auto socket = stream_socket(address);
  if (!socket) return socket;
  const int fd = socket->get();
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  set_option(fd, IPPROTO_TCP, TCP_SAVE_SYN, 1);
  if (address.family() == AF_INET6) set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  if (::bind(fd, address.data(), address.size()) != 0) {
    return base::fail(base::Error::system(fmt::format("bind {}", address.text()), errno));
  }
  return socket;
}

}  // namespace

base::Result<base::Fd> stream_socket(const Address& address) {
  base::Fd socket(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
  if (!socket) return base::fail(base::Error::system("open a socket", errno));
  return socket;
}

base::Result<base::Fd> stream_socket_from(const Address& source) {
  auto socket = stream_socket(source);
  if (!socket) return socket;
  // CAP_NET_RAW is enough, whatever ip(7) says: do_ip_setsockopt in net/ipv4/ip_sockglue.c.
  const int on = 1;
  const bool v6 = source.family() == AF_INET6;
  if (::setsockopt(socket->get(), v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_TRANSPARENT : IP_TRANSPARENT, &on,
                   sizeof on) != 0) {
    return base::fail(base::Error::system(fmt::format("speak as {}", source.text()), errno));
  }
  // Not the port that `source` has: the same one may be in use towards the same target already, by a flow
  // through another listener, or for a minute after a flow's end (TIME_WAIT) when the client has moved on and
  // used its port again. The kernel's choice at connect(2), knowing both ends, is one that is free for this
  // very pair: so an address and a target have net.ipv4.ip_local_port_range for themselves, whoever else
  // there is.
  set_option(socket->get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
  const Address any_port = source.with_port(0);
  if (::bind(socket->get(), any_port.data(), any_port.size()) != 0) {
    return base::fail(base::Error::system(fmt::format("bind {}", any_port.text()), errno));
  }
  return socket;
}

namespace {

/// A bound socket. Its address is taken by nobody else, nor can it be from now on.
base::Result<base::Fd> bind_alone(const Address& address) {
  auto socket = stream_socket(address);
  if (!socket) return socket;
  set_option(socket->get(), SOL_SOCKET, SO_REUSEADDR, 1);  // connections in TIME_WAIT are no obstacle
  if (address.family() == AF_INET6) set_option(socket->get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
  if (::bind(socket->get(), address.data(), address.size()) != 0) {
    return base::fail(base::Error::system(fmt::format("bind {}", address.text()), errno));
  }
  return socket;
}

}  // namespace

base::Result<void> expect_free(const Address& address) {
  if (auto probe = bind_alone(address); !probe) return base::fail(std::move(probe.error()));
  return {};
}

base::Result<base::Fd> listen_alone(const Address& address) {
  auto socket = bind_alone(address);
  if (socket && ::listen(socket->get(), kListenBacklog) != 0) {
    return base::fail(base::Error::system(fmt::format("listen on {}", address.text()), errno));
  }
  return socket;
}

void stop_listening(int listener) {
  (void)::shutdown(listener, SHUT_RDWR);  // ENOTCONN: it does not listen
}

bool adopt_listener(int listener) {
  set_option(listener, IPPROTO_TCP, TCP_SAVE_SYN, 1);
  int in_group = 0;
  socklen_t size = sizeof in_group;
  return ::getsockopt(listener, SOL_SOCKET, SO_REUSEPORT, &in_group, &size) == 0 && in_group != 0;
}

base::Result<void> listen_again(int listener) {
  set_option(listener, IPPROTO_TCP, TCP_SAVE_SYN, 1);
  if (::listen(listener, kListenBacklog) == 0) return {};
  return base::fail(base::Error::system("listen again", errno));
}

base::Result<base::Fd> listen(const Address& address) {
  auto socket = bound_in_group(address);
  if (!socket) return socket;
  // A port that the kernel has chosen is given back when the socket is shut (tcp_set_state in net/ipv4/tcp.c,
  // SOCK_BINDPORT_LOCK), one that was asked for is kept: so ask for that one while the first socket holds it.
  if (address.port() == 0) return listen(local_address(socket->get()));
  if (::listen(socket->get(), kListenBacklog) != 0) {
    return base::fail(base::Error::system(fmt::format("listen on {}", address.text()), errno));
  }
  return socket;
}

std::expected<Accepted, int> accept(int listener) {
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  base::Fd socket(
      ::accept4(listener, reinterpret_cast<sockaddr*>(&peer), &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!socket) return std::unexpected(errno);
  return Accepted{std::move(socket), Address::from(reinterpret_cast<sockaddr*>(&peer), size)};
}

Address local_address(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return {};
  return Address::from(reinterpret_cast<sockaddr*>(&address), size);
}

Address peer_address(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getpeername(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return {};
  return Address::from(reinterpret_cast<sockaddr*>(&address), size);
}

int pending_error(int socket) {
  int error = 0;
  socklen_t size = sizeof error;
  return ::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

std::uint32_t syn_sequence(int socket) {
  // The saved SYN is its IP header followed by its TCP header (net/ipv4/tcp_input.c, tcp_reqsk_record_syn).
  std::array<unsigned char, 256> syn{};
  socklen_t size = syn.size();
  if (::getsockopt(socket, IPPROTO_TCP, TCP_SAVED_SYN, syn.data(), &size) != 0 || size < 20) return 0;
  const unsigned version = syn[0] >> 4;
  const std::size_t tcp = version == 4 ? (syn[0] & 0x0fU) * 4U : 40U;
  if (tcp + 8 > size) return 0;
  std::uint32_t sequence = 0;
  std::memcpy(&sequence, syn.data() + tcp + 4, sizeof sequence);
  return ntohl(sequence);
}

void set_no_delay(int socket) {
  set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
}

std::uint64_t cookie(int socket) {
  std::uint64_t value = 0;
  socklen_t size = sizeof value;
  return ::getsockopt(socket, SOL_SOCKET, SO_COOKIE, &value, &size) == 0 ? value : 0;
}

void reset_on_close(int socket) {
  const linger now{.l_onoff = 1, .l_linger = 0};
  (void)::setsockopt(socket, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

}  // namespace tlsplice::net
