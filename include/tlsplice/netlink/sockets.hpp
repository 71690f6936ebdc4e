// The kernel's own word on TCP sockets (sock_diag(7), include/uapi/linux/inet_diag.h): addresses, queues,
// round trip, and whether TLS is in the kernel, with which version and cipher, in software or in the network
// card. One dump for each address family, whatever the number of sockets; nothing here outlives the call, and
// nothing waits but for the kernel.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tlsplice/base/result.hpp"
#include "tlsplice/net/address.hpp"

namespace tlsplice::netlink {

/// Who does the records of one way (TLS_CONF_* of include/uapi/linux/tls.h).
enum class Records : std::uint8_t {
  kNone,            // the kernel said nothing
  kUserSpace,       // "base": the ULP is attached, no key was installed
  kSoftware,        // "sw": the kernel
  kHardware,        // "hw": the network card
  kHardwareRecord,  // "hw-record": the card, with the handshake (TOE)
};
/// "base", "sw", "hw" and "hw-record", as ss(8) has it; "-" for kNone
const char* to_string(Records records);

/// What net/tls/tls_main.c (tls_get_info) says of one socket. Nothing of it is secret.
struct KernelTls {
  std::uint16_t version = 0;  // 0x0303 for TLS 1.2, 0x0304 for 1.3; 0 before the first key
  std::uint16_t cipher = 0;   // TLS_CIPHER_* of linux/tls.h; 0 before the first key
  Records send = Records::kNone;
  Records receive = Records::kNone;
  bool zero_copy_send = false;      // TLS_TX_ZEROCOPY_RO: sendfile without a copy, hardware only
  bool expects_no_padding = false;  // TLS_RX_EXPECT_NO_PAD

  /// "TLSv1.3", "AES-128-GCM"; the number in hex for what is not known here, "-" before the first key
  std::string version_name() const;
  std::string cipher_name() const;
};

struct TcpSocket {
  net::Address local;
  net::Address peer;
  std::uint64_t cookie = 0;   // SO_COOKIE: never used twice
  std::uint32_t inode = 0;    // as in /proc/PID/fd: "socket:[inode]"; 0 when no process holds it any more
  std::uint32_t user_id = 0;  // of whoever made it
  std::uint8_t state = 0;     // TCP_ESTABLISHED and so on (netinet/tcp.h)
  std::uint32_t receive_queue_bytes = 0;  // arrived, not yet read: of kernel TLS, ciphertext
  std::uint32_t send_queue_bytes = 0;     // not yet acknowledged by the peer
  std::uint32_t round_trip_us = 0;        // smoothed
  std::uint32_t retransmits = 0;          // segments sent again since the connection began
  std::string ulp;                        // "tls"; empty when none is attached
  std::optional<KernelTls> tls;
};

struct SocketFilter {
  std::uint16_t local_port = 0;  // 0: any
  std::uint16_t peer_port = 0;   // 0: any
  /// False takes half-closed connections in as well: FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING.
  bool established_only = true;
  /// False: ulp and tls stay empty, and no privilege is needed.
  bool tls = true;
};

/// Every TCP socket of this network namespace that the filter lets through, each once. Fails with EPERM when
/// `tls` was asked for and the caller lacks CAP_NET_ADMIN: the kernel would leave the TLS state out silently.
/// Sockets that come or go meanwhile may or may not be among them.
base::Result<std::vector<TcpSocket>> tcp_sockets(const SocketFilter& filter);

}  // namespace tlsplice::netlink
