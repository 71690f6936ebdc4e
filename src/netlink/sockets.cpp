// INET_DIAG_ULP_INFO has no bit of its own: the kernel adds it to what INET_DIAG_INFO asks for, for callers
// with CAP_NET_ADMIN (net/ipv4/tcp_diag.c, tcp_diag_get_aux). The same callers are told each socket's mark
// (net/ipv4/inet_diag.c, inet_diag_msg_attrs_fill), so a missing mark is the kernel's word that we lack it.
#include "tlsplice/netlink/sockets.hpp"

#include <fmt/format.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <linux/tls.h>
#include <netinet/tcp.h>

#include <cerrno>
#include <cstring>

#include "connection.hpp"

namespace tlsplice::netlink {
namespace {

constexpr unsigned bit(int state) {
  return 1U << static_cast<unsigned>(state);
}
constexpr unsigned kEstablished = bit(TCP_ESTABLISHED);
constexpr unsigned kHalfClosed =
    bit(TCP_FIN_WAIT1) | bit(TCP_FIN_WAIT2) | bit(TCP_CLOSE_WAIT) | bit(TCP_LAST_ACK) | bit(TCP_CLOSING);

net::Address address_of(int family, const __be32 (&ip)[4], __be16 port) {
  if (family == AF_INET) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = port;
    std::memcpy(&v4.sin_addr, ip, sizeof v4.sin_addr);
    return net::Address::from(reinterpret_cast<const sockaddr*>(&v4), sizeof v4);
  }
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = port;
  std::memcpy(&v6.sin6_addr, ip, sizeof v6.sin6_addr);
  return net::Address::from(reinterpret_cast<const sockaddr*>(&v6), sizeof v6);
}

Records records_of(const nlattr* attribute) {
  switch (attribute == nullptr ? 0 : nla_get_u16(attribute)) {
    case TLS_CONF_BASE:
      return Records::kUserSpace;
    case TLS_CONF_SW:
      return Records::kSoftware;
    case TLS_CONF_HW:
      return Records::kHardware;
    case TLS_CONF_HW_RECORD:
      return Records::kHardwareRecord;
    default:
      return Records::kNone;
  }
}

KernelTls tls_of(nlattr* nest) {
  nlattr* told[TLS_INFO_MAX + 1] = {};
  (void)nla_parse_nested(told, TLS_INFO_MAX, nest, nullptr);
  KernelTls tls;
  if (told[TLS_INFO_VERSION] != nullptr) tls.version = nla_get_u16(told[TLS_INFO_VERSION]);
  if (told[TLS_INFO_CIPHER] != nullptr) tls.cipher = nla_get_u16(told[TLS_INFO_CIPHER]);
  tls.send = records_of(told[TLS_INFO_TXCONF]);
  tls.receive = records_of(told[TLS_INFO_RXCONF]);
  tls.zero_copy_send = told[TLS_INFO_ZC_RO_TX] != nullptr;
  tls.expects_no_padding = told[TLS_INFO_RX_NO_PAD] != nullptr;
  return tls;
}

void take_tcp_info(TcpSocket& socket, const nlattr* attribute) {
  tcp_info info{};  // the kernel's may be longer or shorter than ours
  std::memcpy(&info, nla_data(attribute),
              std::min(sizeof info, static_cast<std::size_t>(nla_len(attribute))));
  socket.round_trip_us = info.tcpi_rtt;
  socket.retransmits = info.tcpi_total_retrans;
}

void take_ulp(TcpSocket& socket, nlattr* nest) {
  nlattr* told[INET_ULP_INFO_MAX + 1] = {};
  (void)nla_parse_nested(told, INET_ULP_INFO_MAX, nest, nullptr);
  if (told[INET_ULP_INFO_NAME] != nullptr) socket.ulp = nla_get_string(told[INET_ULP_INFO_NAME]);
  if (told[INET_ULP_INFO_TLS] != nullptr) socket.tls = tls_of(told[INET_ULP_INFO_TLS]);
}

/// Collects the answers; they come from the kernel, so their shape is only checked against being cut short.
struct Collector {
  const SocketFilter& filter;
  std::vector<TcpSocket> sockets;
  bool not_permitted = false;

  void take(nlmsghdr* header) {
    nlattr* told[INET_DIAG_MAX + 1] = {};
    if (nlmsg_parse(header, sizeof(inet_diag_msg), told, INET_DIAG_MAX, nullptr) < 0) return;
    const auto& message = *static_cast<const inet_diag_msg*>(nlmsg_data(header));
    const inet_diag_sockid& id = message.id;
    TcpSocket& socket = sockets.emplace_back();
    socket.local = address_of(message.idiag_family, id.idiag_src, id.idiag_sport);
    socket.peer = address_of(message.idiag_family, id.idiag_dst, id.idiag_dport);
    socket.cookie = (std::uint64_t{id.idiag_cookie[1]} << 32U) | id.idiag_cookie[0];
    socket.inode = message.idiag_inode;
    socket.user_id = message.idiag_uid;
    socket.state = message.idiag_state;
    socket.receive_queue_bytes = message.idiag_rqueue;
    socket.send_queue_bytes = message.idiag_wqueue;
    if (told[INET_DIAG_INFO] == nullptr) return;  // what is left of an ended connection (TIME_WAIT)
    take_tcp_info(socket, told[INET_DIAG_INFO]);
    if (!filter.tls) return;
    if (told[INET_DIAG_MARK] == nullptr) not_permitted = true;
    if (told[INET_DIAG_ULP_INFO] != nullptr) take_ulp(socket, told[INET_DIAG_ULP_INFO]);
  }
};

base::Result<void> dump(Connection& connection, int family, Collector& collector) {
  inet_diag_req_v2 wanted{};
  wanted.sdiag_family = static_cast<__u8>(family);
  wanted.sdiag_protocol = IPPROTO_TCP;
  wanted.idiag_ext = bit(INET_DIAG_INFO - 1);
  wanted.idiag_states = collector.filter.established_only ? kEstablished : kEstablished | kHalfClosed;
  wanted.id.idiag_sport = htons(collector.filter.local_port);
  wanted.id.idiag_dport = htons(collector.filter.peer_port);
  const Message request(nlmsg_alloc_simple(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP));
  if (!request || nlmsg_append(request.get(), &wanted, sizeof wanted, NLMSG_ALIGNTO) < 0) {
    return base::fail(base::Error::system("list TCP sockets", ENOMEM));
  }
  auto asked = connection.ask("list TCP sockets", request.get(),
                              [&collector](nlmsghdr* header) { collector.take(header); });
  if (!asked && asked.error().errnum == ENOENT) {
    asked.error().detail +=
        " (this kernel has no diagnostics of TCP sockets, or their modules are not loaded; as root: modprobe "
        "tcp_diag)";
  }
  return asked;
}

std::string name_of(std::uint16_t number, const char* known) {
  if (known != nullptr) return known;
  return number == 0 ? "-" : fmt::format("0x{:04x}", number);
}

}  // namespace

base::Result<std::vector<TcpSocket>> tcp_sockets(const SocketFilter& filter) {
  auto connection = Connection::open(NETLINK_SOCK_DIAG);
  if (!connection) return base::fail(connection.error());
  Collector collector{.filter = filter, .sockets = {}};
  for (const int family : {AF_INET, AF_INET6}) {
    if (auto dumped = dump(*connection, family, collector); !dumped) return base::fail(dumped.error());
  }
  if (collector.not_permitted) {
    return base::fail(base::Error::system(
        "ask for the TLS state of TCP sockets (the kernel tells it only to root, or CAP_NET_ADMIN)", EPERM));
  }
  return std::move(collector.sockets);
}

const char* to_string(Records records) {
  switch (records) {
    case Records::kNone:
      return "-";
    case Records::kUserSpace:
      return "base";
    case Records::kSoftware:
      return "sw";
    case Records::kHardware:
      return "hw";
    case Records::kHardwareRecord:
      return "hw-record";
  }
  return "-";
}

std::string KernelTls::version_name() const {
  return name_of(version, version == TLS_1_2_VERSION   ? "TLSv1.2"
                          : version == TLS_1_3_VERSION ? "TLSv1.3"
                                                       : nullptr);
}

std::string KernelTls::cipher_name() const {
  switch (cipher) {
    case TLS_CIPHER_AES_GCM_128:
      return "AES-128-GCM";
    case TLS_CIPHER_AES_GCM_256:
      return "AES-256-GCM";
    case TLS_CIPHER_CHACHA20_POLY1305:
      return "CHACHA20-POLY1305";
    default:
      return name_of(cipher, nullptr);
  }
}

}  // namespace tlsplice::netlink
