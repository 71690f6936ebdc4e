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
#include <fstream>
#include <sstream>
#include <string>

#include "../base/child.hpp"
#include "../net/loopback.hpp"
#include "tlsplice/base/clock.hpp"

namespace tlsplice::netlink {
namespace {

bool root() {
  return ::geteuid() == 0;
}

/// Both ports: together they name one connection on loopback, while one of them alone may be in use towards
/// others too, on a busy machine. Every test asks for the TLS state as well, if it may.
SocketFilter only(const base::Fd& socket) {
  return {.local_port = net::local_address(socket.get()).port(),
          .peer_port = net::peer_address(socket.get()).port(),
          .tls = root()};
}

bool has_inode(const std::vector<TcpSocket>& sockets, std::uint32_t inode) {
  return std::ranges::find(sockets, inode, &TcpSocket::inode) != sockets.end();
}

int state_of(const base::Fd& socket) {
  tcp_info info{};
  socklen_t size = sizeof info;
  return ::getsockopt(socket.get(), IPPROTO_TCP, TCP_INFO, &info, &size) == 0 ? info.tcpi_state : -1;
}

std::uint32_t inode_of(const base::Fd& socket) {
  struct stat status{};
  EXPECT_EQ(::fstat(socket.get(), &status), 0);
  return static_cast<std::uint32_t>(status.st_ino);
}

/// How often the kernel had no room for the rest of an ended connection (net.ipv4.tcp_max_tw_buckets).
std::uint64_t time_wait_overflows() {
  std::ifstream file("/proc/net/netstat");
  std::string names;
  std::string values;
  while (std::getline(file, names) && std::getline(file, values)) {
    std::istringstream name_words(names);
    std::istringstream value_words(values);
    std::string name;
    std::string value;
    while (name_words >> name && value_words >> value) {
      if (name == "TCPTimeWaitOverflow") return std::stoull(value);
    }
  }
  return 0;
}

class OverEither : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Family, OverEither, testing::Values(AF_INET, AF_INET6),
                         [](const auto& info) { return info.param == AF_INET ? "IPv4" : "IPv6"; });

TEST_P(OverEither, ASocketIsFoundByItsPort) {
  const auto [ours, peer] = tests::connection(GetParam());
  const auto other = tests::connection(GetParam());
  const auto sockets = tcp_sockets(only(ours));
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

TEST(TcpSockets, EitherPortAloneKeepsOthersOut) {
  const auto [ours, peer] = tests::connection();
  const std::uint16_t here = net::local_address(ours.get()).port();
  const std::uint16_t there = net::local_address(peer.get()).port();
  const auto by_local = tcp_sockets({.local_port = here, .tls = false});
  const auto by_peer = tcp_sockets({.peer_port = there, .tls = false});
  ASSERT_TRUE(by_local.has_value() && by_peer.has_value());
  for (const auto* found : {&*by_local, &*by_peer}) {
    EXPECT_TRUE(has_inode(*found, inode_of(ours)));
    EXPECT_FALSE(has_inode(*found, inode_of(peer)));
  }
  for (const TcpSocket& socket : *by_local) EXPECT_EQ(socket.local.port(), here);
  for (const TcpSocket& socket : *by_peer) EXPECT_EQ(socket.peer.port(), there);
}

TEST(TcpSockets, KnowTheirQueues) {
  const auto [ours, peer] = tests::connection();
  ASSERT_EQ(::send(peer.get(), "unread", 6, 0), 6);
  tests::wait_for(ours.get(), POLLIN);
  const auto sockets = tcp_sockets(only(ours));
  ASSERT_TRUE(sockets.has_value());
  ASSERT_EQ(sockets->size(), 1U);
  EXPECT_EQ(sockets->front().receive_queue_bytes, 6U);
  EXPECT_EQ(sockets->front().send_queue_bytes, 0U);
  const auto senders = tcp_sockets(only(peer));
  ASSERT_TRUE(senders.has_value());
  ASSERT_EQ(senders->size(), 1U);
  EXPECT_GT(senders->front().round_trip_us, 0U);
}

TEST(TcpSockets, HalfClosedOnesAreThereWhenAskedFor) {
  const auto [ours, peer] = tests::connection();
  ASSERT_EQ(::shutdown(peer.get(), SHUT_WR), 0);
  tests::wait_for(ours.get(), POLLIN);
  SocketFilter filter = only(ours);
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
  SocketFilter filter = only(peer);
  filter.established_only = false;
  ASSERT_EQ(::shutdown(peer.get(), SHUT_WR), 0);
  // Only then does close() itself turn the socket into its smaller rest; before, another CPU may be at it.
  for (int i = 0; i < 3000 && state_of(peer) != TCP_FIN_WAIT2; ++i) ::usleep(10'000);
  ASSERT_EQ(state_of(peer), TCP_FIN_WAIT2);
  const std::uint64_t overflows = time_wait_overflows();
  peer.reset();
  const auto sockets = tcp_sockets(filter);
  ASSERT_TRUE(sockets.has_value()) << sockets.error().text();
  if (sockets->empty() && time_wait_overflows() != overflows) {
    GTEST_SKIP() << "the kernel has no room for the rest of ended connections now";
  }
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
    SocketFilter filter = only(pair.ours);
    filter.tls = true;
    const auto asked = tcp_sockets(filter);
    if (asked) return std::string("an answer");
    if (asked.error().errnum != EPERM) return asked.error().text();
    if (asked.error().text().find("CAP_NET_ADMIN") == std::string::npos) return asked.error().text();
    filter.tls = false;
    const auto rest = tcp_sockets(filter);
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
  // Ten thousand connections in TIME_WAIT would be in the way of whoever comes next.
  for (const base::Fd& socket : held) net::reset_on_close(socket.get());
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
  EXPECT_GE(ours->size(), count);  // others may use the same number
  std::vector<std::uint32_t> inodes;
  for (const TcpSocket& socket : *ours) inodes.push_back(socket.inode);
  std::ranges::sort(inodes);
  EXPECT_EQ(std::ranges::adjacent_find(inodes), inodes.end());
  for (std::size_t i = 1; i < held.size(); i += 2) {
    ASSERT_TRUE(std::ranges::binary_search(inodes, inode_of(held[i])));
  }
}

}  // namespace
}  // namespace tlsplice::netlink
