// The hash folds each word of the key into a seeded state by a full 64-bit avalanche: even, and not
// computable from outside without the seed. It guards a choice of target, not a secret.
#include "tlsplice/targets/group.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include "avalanche.hpp"
#include "tlsplice/base/expect.hpp"

namespace tlsplice::targets {
namespace {

constexpr std::uint64_t kGroupHash = 0x67726f7570ULL;  // "group"

std::uint64_t mix_ip(std::uint64_t hash, const net::Address& address) {
  const std::string_view ip = address.ip_bytes();
  std::uint64_t words[2] = {};
  if (!ip.empty()) std::memcpy(words, ip.data(), ip.size());
  hash = avalanche(hash ^ words[0]);
  return avalanche(hash ^ words[1]);
}

std::uint64_t mix(std::uint64_t hash, const net::Address& address) {
  return avalanche(mix_ip(hash, address) ^ address.port());
}

bool is_loopback(const net::Address& address) {
  const std::string_view ip = address.ip_bytes();
  if (address.family() == AF_INET) return ip[0] == 127;
  return ip == std::string_view(reinterpret_cast<const char*>(&in6addr_loopback), sizeof in6addr_loopback);
}

/// 169.254.0.0/16, fe80::/10: means nothing beyond its own link.
bool is_link_local(const net::Address& address) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(address.ip_bytes()[i]); };
  return address.family() == AF_INET ? byte(0) == 169 && byte(1) == 254
                                     : byte(0) == 0xfe && (byte(1) & 0xc0U) == 0x80;
}

/// 0.0.0.0/8, multicast and broadcast (224.0.0.0/3), ::, ff00::/8: nobody speaks from there.
bool is_no_host(const net::Address& address) {
  const std::string_view ip = address.ip_bytes();
  const auto first = static_cast<unsigned char>(ip[0]);
  if (address.family() == AF_INET) return first == 0 || first >= 224;
  return first == 0xff ||
         ip == std::string_view(reinterpret_cast<const char*>(&in6addr_any), sizeof in6addr_any);
}

}  // namespace

base::Result<Group> Group::from(const policy::TargetGroup& configured) {
  Group group{.name = configured.name,
              .protocol = configured.protocol,
              .targets = {},
              .connect_timeout = configured.connect_timeout,
              .ktls = configured.ktls,
              .proxy_protocol_v2 = configured.proxy_protocol_v2,
              .preserve_client_ip = configured.preserve_client_ip,
              .stickiness = configured.stickiness};
  for (const policy::HostPort& target : configured.targets) {
    auto address = net::Address::parse(target.host, target.port);
    if (!address) return base::fail(address.error());
    group.targets.push_back(*address);
  }
  return group;
}

std::uint64_t flow_hash(const FlowKey& key, std::uint64_t seed) {
  std::uint64_t hash = avalanche(seed ^ IPPROTO_TCP);
  hash = mix(hash, key.client);
  hash = mix(hash, key.listener);
  return avalanche(hash ^ key.syn_sequence);
}

std::uint64_t client_hash(const net::Address& client, std::uint64_t seed) {
  return mix_ip(avalanche(seed ^ IPPROTO_TCP), client);
}

std::size_t choose(std::uint64_t hash, std::size_t count) {
  TLSPLICE_EXPECT(count > 0, "a target group has at least one target");
  // The upper half of a 128-bit product: no division, and no bias that matters below 2^32 targets.
  return static_cast<std::size_t>((static_cast<unsigned __int128>(hash) * count) >> 64);
}

net::Address source_address(const Group& group, const net::Address& client, const net::Address& target) {
  if (!group.preserve_client_ip || client.family() != target.family()) return {};
  if (client.ip_bytes() == target.ip_bytes()) return {};  // a target that is a client itself
  if (is_link_local(client) || is_no_host(client) || (is_loopback(client) && !is_loopback(target))) return {};
  return client;
}

bool any_sticky(std::span<const Share> shares) {
  return std::ranges::any_of(shares,
                             [](const Share& share) { return share.group.stickiness && share.weight > 0; });
}

const Share* choose_group(std::uint64_t hash, std::span<const Share> shares) {
  std::size_t all = 0;
  for (const Share& share : shares) all += share.weight;
  if (all == 0) return nullptr;
  // Another hash than the target's: else a group would only ever see its part of them.
  std::size_t left = choose(avalanche(hash ^ kGroupHash), all);
  for (const Share& share : shares) {
    if (left < share.weight) return &share;
    left -= share.weight;
  }
  return nullptr;
}

}  // namespace tlsplice::targets
