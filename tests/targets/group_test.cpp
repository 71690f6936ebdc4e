// Promised: the choice of a target is even, depends on everything in the key and on the seed, and is never
// outside the group. Checked over many thousands of keys such as clients make them, within five percent, and
// over every single bit of the SYN's sequence number.
#include "tlsplice/targets/group.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <limits>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace tlsplice::targets {
namespace {

constexpr std::uint64_t kSeed = 0x0123456789abcdef;

net::Address address(const char* host, std::uint16_t port) {
  return *net::Address::parse(host, port);
}

FlowKey some_key() {
  return {address("192.0.2.1", 50'000), address("198.51.100.7", 443), 0xdeadbeef};
}

/// Each of `count` targets is chosen for its fair part of the keys.
template <typename MakeKey>
void expect_even(std::size_t count, MakeKey make_key, std::uint64_t seed = kSeed) {
  const std::size_t keys = 10'000 * count;
  std::vector<std::size_t> chosen(count);
  for (std::size_t i = 0; i < keys; ++i) {
    const std::size_t index = choose(flow_hash(make_key(i), seed), count);
    ASSERT_LT(index, count);
    ++chosen[index];
  }
  for (std::size_t times : chosen) {
    EXPECT_NEAR(static_cast<double>(times), 10'000.0, 500.0) << "of " << count;
  }
}

TEST(Choose, IsEvenOverClientPorts) {
  for (const std::size_t count : {1UZ, 2UZ, 3UZ, 5UZ, 6UZ}) {
    expect_even(count, [](std::size_t i) {
      FlowKey key = some_key();
      key.client = address("192.0.2.1", static_cast<std::uint16_t>(i));
      return key;
    });
  }
}

TEST(Choose, IsEvenOverSynSequences) {
  for (const std::size_t count : {2UZ, 3UZ, 7UZ, 10UZ, 64UZ, 100UZ}) {
    expect_even(count, [](std::size_t i) {
      FlowKey key = some_key();
      key.syn_sequence = static_cast<std::uint32_t>(i);  // the worst case: consecutive
      return key;
    });
  }
}

TEST(Choose, IsEvenOverClients) {
  expect_even(4, [](std::size_t i) {
    in_addr client{htonl(0x0a000000U + static_cast<std::uint32_t>(i))};
    sockaddr_in socket{.sin_family = AF_INET, .sin_port = htons(443), .sin_addr = client, .sin_zero = {}};
    FlowKey key = some_key();
    key.client = net::Address::from(reinterpret_cast<const sockaddr*>(&socket), sizeof socket);
    return key;
  });
}

TEST(Choose, IsEvenOverSeeds) {
  std::vector<std::size_t> chosen(5);
  for (std::uint64_t seed = 0; seed < 50'000; ++seed) ++chosen[choose(flow_hash(some_key(), seed), 5)];
  for (const std::size_t times : chosen) EXPECT_NEAR(static_cast<double>(times), 10'000.0, 500.0);
}

TEST(Choose, IsNeverOutside) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  for (const std::size_t count : {1UZ, 2UZ, 3UZ, 1000UZ, 1UZ << 32}) {
    for (const std::uint64_t hash : {std::uint64_t{0}, std::uint64_t{1}, kMost / 2, kMost - 1, kMost}) {
      EXPECT_LT(choose(hash, count), count);
    }
    EXPECT_EQ(choose(0, count), 0u);
    EXPECT_EQ(choose(kMost, count), count - 1);
  }
  std::mt19937_64 random(1);
  for (int i = 0; i < 100'000; ++i) {
    const std::size_t count = random() % 1000 + 1;
    ASSERT_LT(choose(random(), count), count);
  }
}

TEST(FlowHash, IsTheSameForTheSameFlow) {
  EXPECT_EQ(flow_hash(some_key(), kSeed), flow_hash(some_key(), kSeed));
}

TEST(FlowHash, DependsOnEachPartAndOnTheSeed) {
  std::vector<FlowKey> keys(6, some_key());
  keys[1].client = address("192.0.2.2", 50'000);
  keys[2].client = address("192.0.2.1", 50'001);
  keys[3].listener = address("198.51.100.8", 443);
  keys[4].listener = address("198.51.100.7", 444);
  keys[5].syn_sequence ^= 1;
  std::set<std::uint64_t> hashes;
  for (const FlowKey& key : keys) hashes.insert(flow_hash(key, kSeed));
  hashes.insert(flow_hash(keys[0], kSeed + 1));
  hashes.insert(flow_hash(keys[0], 0));
  EXPECT_EQ(hashes.size(), keys.size() + 2);
}

TEST(FlowHash, DependsOnEveryByteOfAnIpv6Address) {
  std::set<std::uint64_t> hashes;
  sockaddr_in6 socket{};
  socket.sin6_family = AF_INET6;
  for (unsigned char& byte : socket.sin6_addr.s6_addr) {
    byte = 1;
    FlowKey key = some_key();
    key.client = net::Address::from(reinterpret_cast<const sockaddr*>(&socket), sizeof socket);
    hashes.insert(flow_hash(key, kSeed));
    byte = 0;
  }
  EXPECT_EQ(hashes.size(), 16u);
}

TEST(FlowHash, TellsTheTwoEndsApart) {
  FlowKey turned = some_key();
  std::swap(turned.client, turned.listener);
  EXPECT_NE(flow_hash(turned, kSeed), flow_hash(some_key(), kSeed));
}

TEST(FlowHash, EachBitOfTheSequenceTurnsHalfOfTheHash) {
  const std::uint64_t hash = flow_hash(some_key(), kSeed);
  for (int bit = 0; bit < 32; ++bit) {
    FlowKey key = some_key();
    key.syn_sequence ^= 1U << bit;
    const int turned = std::popcount(hash ^ flow_hash(key, kSeed));
    EXPECT_GT(turned, 12) << bit;
    EXPECT_LT(turned, 52) << bit;
  }
}

TEST(FlowHash, HasNoCollisionAmongManyFlows) {
  std::set<std::uint64_t> hashes;
  for (std::uint32_t i = 0; i < 100'000; ++i) {
    FlowKey key = some_key();
    key.syn_sequence = i;
    hashes.insert(flow_hash(key, kSeed));
  }
  EXPECT_EQ(hashes.size(), 100'000u);
}

policy::TargetGroup configured() {
  return {.name = "app",
          .protocol = policy::Protocol::kTls,
          .targets = {{"192.0.2.1", 80}, {"2001:db8::1", 443}},
          .connect_timeout = base::Milliseconds(1234),
          .ktls = policy::Ktls::kOff,
          .proxy_protocol_v2 = {.enabled = true, .ssl = true},
          .preserve_client_ip = true,
          .place = {}};
}

TEST(Group, IsTheConfiguredOne) {
  const auto group = Group::from(configured());
  ASSERT_TRUE(group.has_value());
  EXPECT_EQ(group->name, "app");
  EXPECT_EQ(group->protocol, policy::Protocol::kTls);
  EXPECT_EQ(group->connect_timeout, base::Milliseconds(1234));
  EXPECT_EQ(group->ktls, policy::Ktls::kOff);
  EXPECT_EQ(group->proxy_protocol_v2, (policy::ProxyProtocol{.enabled = true, .ssl = true}));
  EXPECT_TRUE(group->preserve_client_ip);
  EXPECT_EQ(group->targets, (std::vector{address("192.0.2.1", 80), address("2001:db8::1", 443)}));
}

TEST(Group, RefusesANameWhereAnAddressBelongs) {
  policy::TargetGroup wrong = configured();
  wrong.targets.push_back({"app.internal", 80});
  const auto group = Group::from(wrong);
  ASSERT_FALSE(group.has_value());
  EXPECT_EQ(group.error().text(), "\"app.internal\" is not an IP address");
}

/// "client's" or "own": whose address the target sees.
std::string seen(const char* client_host, const char* target_host, bool preserve = true) {
  Group group;
  group.preserve_client_ip = preserve;
  const net::Address client = address(client_host, 50'000);
  const net::Address source = source_address(group, client, address(target_host, 8080));
  if (source.family() == AF_UNSPEC) return "own";
  return source == client ? "client's" : source.text();
}

TEST(SourceAddress, IsTheClientsWhereTheGroupPreservesIt) {
  EXPECT_EQ(seen("192.0.2.1", "10.0.0.1"), "client's");
  EXPECT_EQ(seen("2001:db8::1", "fd00::1"), "client's");
  EXPECT_EQ(seen("192.0.2.1", "10.0.0.1", false), "own");
  EXPECT_EQ(seen("2001:db8::1", "fd00::1", false), "own");
}

TEST(SourceAddress, IsOursAcrossIpVersions) {
  EXPECT_EQ(seen("192.0.2.1", "fd00::1"), "own");
  EXPECT_EQ(seen("2001:db8::1", "10.0.0.1"), "own");
}

TEST(SourceAddress, IsOursWhereNothingCouldAnswerToTheClients) {
  EXPECT_EQ(seen("10.0.0.1", "10.0.0.1"), "own");
  EXPECT_EQ(seen("fd00::1", "fd00::1"), "own");
  EXPECT_EQ(seen("127.0.0.1", "127.0.0.1"), "own");
  EXPECT_EQ(seen("::1", "::1"), "own");
  EXPECT_EQ(seen("127.0.0.1", "10.0.0.1"), "own");
  EXPECT_EQ(seen("127.1.2.3", "10.0.0.1"), "own");
  EXPECT_EQ(seen("::1", "fd00::1"), "own");
  EXPECT_EQ(seen("169.254.7.7", "10.0.0.1"), "own");
  EXPECT_EQ(seen("fe80::1", "fd00::1"), "own");
  EXPECT_EQ(seen("febf::1", "fd00::1"), "own");
}

TEST(SourceAddress, IsOursWhereNobodyHasTheClients) {
  for (const char* const client : {"0.0.0.0", "0.1.2.3", "224.0.0.1", "240.0.0.1", "255.255.255.255"})
    EXPECT_EQ(seen(client, "10.0.0.1"), "own") << client;
  EXPECT_EQ(seen("::", "fd00::1"), "own");
  EXPECT_EQ(seen("ff02::1", "fd00::1"), "own");
  EXPECT_EQ(seen("223.255.255.254", "10.0.0.1"), "client's");
  EXPECT_EQ(seen("::5", "fd00::1"), "client's");
}

TEST(SourceAddress, IsTheClientsWhereItCan) {
  EXPECT_EQ(seen("127.0.0.2", "127.0.0.1"), "client's");
  EXPECT_EQ(seen("192.0.2.1", "127.0.0.1"), "client's");
  EXPECT_EQ(seen("169.253.7.7", "10.0.0.1"), "client's");
  EXPECT_EQ(seen("fec0::1", "fd00::1"), "client's");
  EXPECT_EQ(seen("::2", "fd00::1"), "client's");
}

TEST(ClientHash, IsOfTheAddressAloneAndEven) {
  std::vector<std::size_t> chosen(4);
  for (std::uint32_t i = 0; i < 40'000; ++i) {
    const std::string host = "10.1." + std::to_string(i / 250) + "." + std::to_string(i % 250);
    const std::uint64_t hash = client_hash(address(host.c_str(), 50'000), kSeed);
    ASSERT_EQ(hash, client_hash(address(host.c_str(), static_cast<std::uint16_t>(i)), kSeed));
    ASSERT_NE(hash, client_hash(address(host.c_str(), 50'000), kSeed + 1));
    ++chosen[choose(hash, chosen.size())];
  }
  for (std::size_t times : chosen) EXPECT_NEAR(static_cast<double>(times), 10'000.0, 500.0);
  EXPECT_NE(client_hash(address("2001:db8::1", 1), kSeed), client_hash(address("2001:db8::2", 1), kSeed));
}

TEST(AnySticky, CountsGroupsThatGetFlows) {
  Share plain;
  Share sticky;
  sticky.group.stickiness = true;
  EXPECT_FALSE(any_sticky(std::vector<Share>{}));
  EXPECT_FALSE(any_sticky(std::vector{plain, plain}));
  EXPECT_TRUE(any_sticky(std::vector{plain, sticky}));
  sticky.weight = 0;
  EXPECT_FALSE(any_sticky(std::vector{plain, sticky}));
}

}  // namespace
}  // namespace tlsplice::targets
