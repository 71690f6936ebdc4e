// Promised: the kernel's word on a TCP socket is about that very socket (addresses, inode, queues), IPv4 and
// IPv6; filters keep others out; twenty thousand sockets are one quick dump; and who may not know the TLS
// state is told so instead of nothing. Checked on loopback against what the sockets themselves say.
#include "tlsplice/netlink/sockets.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "../base/child.hpp"
#include "../net/loopback.hpp"
#include "tlsplice/base/clock.hpp"

namespace tlsplice::netlink {
namespace {

bool root() {
  return ::geteuid() == 0;
}

/// Every test asks for the TLS state too, if it may.
SocketFilter towards(const base::Fd& peer) {
  return {.local_port = net::peer_address(peer.get()).port(), .tls = root()};
}

std::uint32_t inode_of(const base::Fd& socket) {
  struct stat status{};
  EXPECT_EQ(::fstat(socket.get(), &status), 0);
  return static_cast<std::uint32_t>(status.st_ino);
}

class OverEither : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Family, OverEither, testing::Values(AF_INET, AF_INET6),
                         [](const auto& info) { return info.param == AF_INET ? "IPv4" : "IPv6"; });

TEST_P(OverEither, ASocketIsFoundByItsPort) {
  const auto [ours, peer] = tests::connection(GetParam());
  const auto other = tests::connection(GetParam());
  const auto sockets = tcp_sockets(towards(peer));
  ASSERT_TRUE(sockets.has_value()) << sockets.error().text();
  ASSERT_EQ(sockets->size(), 1U);
  const TcpSocket& socket = sockets->front();
  EXPECT_EQ(socket.local, net::local_address(ours.get()));
  EXPECT_EQ(socket.peer, net::local_address(peer.get()));
  EXPECT_EQ(socket.inode, inode_of(ours));
  EXPECT_EQ(socket.user_id, ::geteuid());
  EXPECT_EQ(socket.state, TCP_ESTABLISHED);
  EXPECT_NE(socket.cookie, 0U);
  EXPECT_EQ(socket.retransmits, 0U);
  EXPECT_EQ(socket.ulp, "");
  EXPECT_FALSE(socket.tls.has_value());
}

TEST(TcpSockets, AreFoundByTheirPeersPort) {
  const auto [ours, peer] = tests::connection();
  const auto sockets = tcp_sockets({.peer_port = net::local_address(peer.get()).port(), .tls = false});
  ASSERT_TRUE(sockets.has_value());
  ASSERT_EQ(sockets->size(), 1U);
  EXPECT_EQ(sockets->front().inode, inode_of(ours));
}

TEST(TcpSockets, KnowTheirQueues) {
  const auto [ours, peer] = tests::connection();
  ASSERT_EQ(::send(peer.get(), "unread", 6, 0), 6);
  tests::wait_for(ours.get(), POLLIN);
  const auto sockets = tcp_sockets(towards(peer));
  ASSERT_TRUE(sockets.has_value());
  ASSERT_EQ(sockets->size(), 1U);
  EXPECT_EQ(sockets->front().receive_queue_bytes, 6U);
  EXPECT_EQ(sockets->front().send_queue_bytes, 0U);
  const auto senders = tcp_sockets({.local_port = net::local_address(peer.get()).port(), .tls = false});
  ASSERT_TRUE(senders.has_value());
  ASSERT_EQ(senders->size(), 1U);
  EXPECT_GT(senders->front().round_trip_us, 0U);
}

TEST(TcpSockets, HalfClosedOnesAreThereWhenAskedFor) {
  const auto [ours, peer] = tests::connection();
  ASSERT_EQ(::shutdown(peer.get(), SHUT_WR), 0);
  tests::wait_for(ours.get(), POLLIN);
  SocketFilter filter = towards(peer);
  EXPECT_TRUE(tcp_sockets(filter)->empty());
  filter.established_only = false;
  const auto sockets = tcp_sockets(filter);
  ASSERT_TRUE(sockets.has_value());
  ASSERT_EQ(sockets->size(), 1U);
  EXPECT_EQ(sockets->front().state, TCP_CLOSE_WAIT);
}

/// What is left of an ended connection has neither TCP_INFO nor a mark: that alone is no lack of privilege.
TEST(TcpSockets, TheRestOfAnEndedOneIsNoError) {
  auto [ours, peer] = tests::connection();
  SocketFilter filter{
      .local_port = net::local_address(peer.get()).port(), .established_only = false, .tls = root()};
  ASSERT_EQ(::shutdown(peer.get(), SHUT_WR), 0);
  peer.reset();  // FIN_WAIT2, soon kept by a smaller structure
  const auto sockets = tcp_sockets(filter);
  ASSERT_TRUE(sockets.has_value()) << sockets.error().text();
  ASSERT_EQ(sockets->size(), 1U);
  EXPECT_EQ(sockets->front().inode, 0U);
}

TEST(TcpSockets, NobodyIsAnEmptyAnswer) {
  const auto sockets = tcp_sockets({.local_port = 1, .peer_port = 1});
  ASSERT_TRUE(sockets.has_value()) << sockets.error().text();
  EXPECT_TRUE(sockets->empty());
}

TEST(TcpSockets, WhoMayNotKnowIsTold) {
  const auto pair = tests::connection();
  const std::string said = tests::in_child([&pair] {
    if (root() && ::setresuid(65534, 65534, 65534) != 0) return std::string("cannot leave root");
    const auto asked = tcp_sockets({.local_port = net::local_address(pair.ours.get()).port()});
    if (asked) return std::string("an answer");
    if (asked.error().errnum != EPERM) return asked.error().text();
    if (asked.error().text().find("CAP_NET_ADMIN") == std::string::npos) return asked.error().text();
    const auto rest = tcp_sockets({.local_port = net::local_address(pair.ours.get()).port(), .tls = false});
    if (!rest) return rest.error().text();
    return std::string(rest->size() == 1 ? "" : "not one socket");
  });
  EXPECT_EQ(said, "");
}

/// Fewer where the machine grants fewer descriptors, and in a guest, where all is ten times slower.
std::size_t connections_for_a_crowd() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  const std::size_t wanted = std::getenv("VM_KERNEL") != nullptr ? 1'000 : 10'000;
  return std::min<std::size_t>(wanted, (limit.rlim_cur - 100) / 2);
}

TEST(TcpSockets, TwentyThousandAreOneQuickDump) {
  const auto listener = net::listen(tests::loopback(AF_INET));
  ASSERT_TRUE(listener.has_value());
  const net::Address address = tests::address_of(*listener);
  const std::size_t count = connections_for_a_crowd();
  std::vector<base::Fd> held;
  for (std::size_t i = 0; i < count; ++i) {
    held.push_back(tests::dial(address));
    held.push_back(std::move(tests::accept_one(listener->get()).socket));
  }
  const base::Instant began = base::now();
  const auto all = tcp_sockets({.tls = root()});
  const auto took = std::chrono::duration_cast<base::Milliseconds>(base::now() - began);
  ASSERT_TRUE(all.has_value()) << all.error().text();
  RecordProperty("milliseconds", static_cast<int>(took.count()));
  fmt::print("{} sockets in {} ms\n", all->size(), took.count());
  EXPECT_GE(all->size(), 2 * count);
  EXPECT_LT(took.count(), 5000);
  const auto ours = tcp_sockets({.local_port = address.port(), .tls = root()});
  ASSERT_TRUE(ours.has_value());
  EXPECT_EQ(ours->size(), count);
  std::vector<std::uint32_t> inodes;
  for (const TcpSocket& socket : *ours) inodes.push_back(socket.inode);
  std::ranges::sort(inodes);
  EXPECT_EQ(std::ranges::adjacent_find(inodes), inodes.end());
}

}  // namespace
}  // namespace tlsplice::netlink
