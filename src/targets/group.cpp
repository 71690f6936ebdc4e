// The hash folds each word of the key into a seeded state by a full 64-bit avalanche (the finalizer of
// MurmurHash3): even, and not computable from outside without the seed. It guards a choice of target, not a
// secret.
#include "tlsplice/targets/group.hpp"

#include <netinet/in.h>

#include <cstring>

#include "tlsplice/base/expect.hpp"

namespace tlsplice::targets {
namespace {

std::uint64_t avalanche(std::uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdULL;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ULL;
  return x ^ (x >> 33);
}

std::uint64_t mix(std::uint64_t hash, const net::Address& address) {
  const std::string_view ip = address.ip_bytes();
  std::uint64_t words[2] = {};
  if (!ip.empty()) std::memcpy(words, ip.data(), ip.size());
  hash = avalanche(hash ^ words[0]);
  hash = avalanche(hash ^ words[1]);
  return avalanche(hash ^ address.port());
}

}  // namespace

base::Result<Group> Group::from(const policy::TargetGroup& configured) {
  Group group{.name = configured.name,
              .protocol = configured.protocol,
              .targets = {},
              .connect_timeout = configured.connect_timeout,
              .ktls = configured.ktls,
              .proxy_protocol_v2 = configured.proxy_protocol_v2};
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

std::size_t choose(std::uint64_t hash, std::size_t count) {
  TLSPLICE_EXPECT(count > 0, "a target group has at least one target");
  // The upper half of a 128-bit product: no division, and no bias that matters below 2^32 targets.
  return static_cast<std::size_t>((static_cast<unsigned __int128>(hash) * count) >> 64);
}

}  // namespace tlsplice::targets
