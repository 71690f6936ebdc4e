// A target group ready for use, and the choice of a group and of a target: pure functions over immutable
// values. Nothing here connects or waits; the session does, and asks for another target when one fails.
// Which targets are to be used is another matter: health.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tlsplice/base/result.hpp"
#include "tlsplice/net/address.hpp"
#include "tlsplice/policy/config.hpp"

namespace tlsplice::targets {

struct Group {
  std::string name;
  policy::Protocol protocol = policy::Protocol::kTcp;
  std::vector<net::Address> targets = {};
  base::Milliseconds connect_timeout{};
  policy::Ktls ktls = policy::Ktls::kAuto;
  policy::ProxyProtocol proxy_protocol_v2 = {};
  bool preserve_client_ip = false;
  bool stickiness = false;  // see client_hash

  static base::Result<Group> from(const policy::TargetGroup& configured);
};

/// A group that a listener forwards to, and which share of the flows it gets.
struct Share {
  Group group;
  std::uint32_t weight = 1;    // of the sum over the listener's shares
  std::size_t group_row = 0;   // its place among the groups (HealthTable),
  std::size_t target_row = 0;  // and its first target's among the targets (observe::Shape)
};

/// What the load balancer's flow hash looks at: protocol (always TCP here), source and destination address
/// and port, and the TCP sequence number, so that connections of one client, even from one port, spread
/// (spec: nlb-facts, routing).
struct FlowKey {
  net::Address client;
  net::Address listener;  // the local address of the accepted connection
  std::uint32_t syn_sequence = 0;
};

/// `seed` is drawn at random once for each service, so that a client cannot compute which target it will
/// meet.
std::uint64_t flow_hash(const FlowKey& key, std::uint64_t seed);

/// Of a group with stickiness: the client's address alone decides, so all its connections meet one target for
/// as long as the group's targets are the same.
std::uint64_t client_hash(const net::Address& client, std::uint64_t seed);

/// The index of the target for this hash, each equally likely. `count` > 0.
std::size_t choose(std::uint64_t hash, std::size_t count);

/// Whose address a connection to `target` comes from: the client's where the group preserves it, else empty
/// for this host's own. Also this host's own where nothing could answer to the client's: across IP versions,
/// as at the load balancer; where client and target are one host, which the load balancer lets fail; for a
/// client on this host's loopback and a target elsewhere; for a link-local client; for an address that is no
/// host's, which a proxy in front may name.
net::Address source_address(const Group& group, const net::Address& client, const net::Address& target);

/// Whether one that gets flows has stickiness. Then the client chooses the group as well (client_hash): else
/// it would meet its target only now and then.
bool any_sticky(std::span<const Share> shares);

/// The share for this hash, each as likely as its weight says; null when all weights are 0.
const Share* choose_group(std::uint64_t hash, std::span<const Share> shares);

}  // namespace tlsplice::targets
