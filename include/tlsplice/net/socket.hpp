// Plain socket calls that never wait: listening sockets, sockets towards targets, options, what the kernel
// knows about a connection. Every socket made here is non-blocking and close-on-exec.
#pragma once

#include <cstdint>

#include "tlsplice/base/fd.hpp"
#include "tlsplice/base/result.hpp"
#include "tlsplice/net/address.hpp"

namespace tlsplice::net {

/// Pending connections a listening socket may hold; the kernel caps it at net.core.somaxconn.
inline constexpr int kListenBacklog = 4096;

/// A listening TCP socket in the SO_REUSEPORT group of its address; with port 0 on a free one, which it keeps
/// when it is shut. An IPv6 socket takes IPv6 only, so that 0.0.0.0 and [::] can be two listeners. The SYN of
/// each connection is kept for syn_sequence (tcp(7), TCP_SAVE_SYN).
base::Result<base::Fd> listen(const Address& address);

/// A listening TCP socket that shares its address with no other one: fails when somebody listens there.
base::Result<base::Fd> listen_alone(const Address& address);

/// Shuts a listening socket for every process that holds it. It stays bound; what was queued goes to other
/// sockets of the group where a program or net.ipv4.tcp_migrate_req says so, and is reset otherwise
/// (inet_csk_listen_stop in net/ipv4/inet_connection_sock.c).
void stop_listening(int listener);
/// Listens once more on a socket that was shut that way.
base::Result<void> listen_again(int listener);

/// Makes a listening socket that somebody else has opened one like those of listen(). False when it is in no
/// SO_REUSEPORT group, which no other socket can then join.
bool adopt_listener(int listener);

/// Fails when somebody listens there already: another SO_REUSEPORT socket of the same user would share the
/// address and silently take part of the connections.
base::Result<void> expect_free(const Address& address);

/// A TCP socket of the address's family, not yet connected.
base::Result<base::Fd> stream_socket(const Address& address);

/// The same, for a connection that comes from the IP address of `source`, which need not be this host's
/// (IP_TRANSPARENT; EPERM without CAP_NET_RAW or CAP_NET_ADMIN). Which port is the kernel's choice, made when
/// the socket connects.
base::Result<base::Fd> stream_socket_from(const Address& source);

/// A connection taken from the queue of a listening socket, or the errno: EAGAIN when the queue is empty.
struct Accepted {
  base::Fd socket;
  Address peer;
};
std::expected<Accepted, int> accept(int listener);

Address local_address(int socket);
Address peer_address(int socket);

/// The pending error of a socket (SO_ERROR), which this call clears; 0 when there is none.
int pending_error(int socket);

/// The sequence number of the client's SYN, 0 when the kernel kept none (SYN cookies). Reading it frees the
/// saved SYN.
std::uint32_t syn_sequence(int socket);

void set_no_delay(int socket);

/// SO_COOKIE: names the socket for ever, also in socket diagnostics; 0 when there is none.
std::uint64_t cookie(int socket);

/// The next close sends a RST instead of a FIN and drops what is unsent: how a reset stays a reset (trap 98).
void reset_on_close(int socket);

}  // namespace tlsplice::net
