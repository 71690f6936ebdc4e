// What targets answer to their clients is delivered to this host's sockets instead of being forwarded: for
// each target a policy rule ("from TARGET ipproto tcp sport PORT lookup 7640") and, for each IP version, a
// table that takes everything home ("local default dev lo"). Other packets of the target are routed as ever;
// forwarding need not be on. The rules are the kernel's until they are taken down: what a service that was
// killed left behind is known by its protocol number, and replaced.
#pragma once

#include <cstdint>
#include <vector>

#include "tlsplice/base/fd.hpp"
#include "tlsplice/base/result.hpp"
#include "tlsplice/net/address.hpp"

namespace tlsplice::netlink {

/// "proto" of what we make, in `ip rule` and `ip route`; assigned to nobody (linux/rtnetlink.h, RTPROT_*,
/// and /etc/iproute2/rt_protos).
inline constexpr std::uint8_t kRouteProtocol = 143;
/// Priority of the rules and number of the table, of the first service in a network namespace. The others
/// have the numbers after it.
inline constexpr std::uint32_t kFirstTable = 7640;
inline constexpr std::uint32_t kTables = 8;

/// For the network namespace of the process that first calls follow(); to be used by that process alone.
class LocalDelivery {
 public:
  LocalDelivery() = default;
  LocalDelivery(LocalDelivery&& other) noexcept = default;
  LocalDelivery& operator=(LocalDelivery&& other) = delete;
  /// Takes everything down.
  ~LocalDelivery();

  /// From here on what these targets (address and port) send to anyone is delivered here, and what other ones
  /// send no longer. Rules that stay are not touched, new ones are there before old ones go; what dead
  /// services left goes too. Needs CAP_NET_ADMIN, unless nothing is there and nothing is wanted. After a
  /// failure some of it may be done: follow({}) takes that down.
  base::Result<void> follow(const std::vector<net::Address>& targets);

  /// Table, and priority of the rules; 0 before there were any.
  std::uint32_t table() const { return table_; }

  /// In a child of the owner: forgets, and takes nothing down.
  void abandon() { lock_.reset(); }

 private:
  base::Result<void> take_table();

  base::Fd lock_;  // of table_; the kernel lets go of it when the process ends, however it does
  std::uint32_t table_ = 0;
};

}  // namespace tlsplice::netlink
