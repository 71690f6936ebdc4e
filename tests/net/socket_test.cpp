// Promised: sockets come non-blocking and close-on-exec; listeners share an address among themselves and with
// nobody unseen; the sequence number of a client's SYN is read as it was sent; a reset stays a reset. Checked
// on loopback, IPv4 and IPv6, on ports that the kernel picks, against what the other end sees.
#include "tlsplice/net/socket.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <poll.h>

#include <cerrno>
#include <set>
#include <vector>

#include "../base/child.hpp"
#include "loopback.hpp"

namespace tlsplice::net {
namespace {

using tests::accept_one;
using tests::Connection;
using tests::dial;
using tests::loopback;

int option(int socket, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  return ::getsockopt(socket, level, name, &value, &size) == 0 ? value : -1;
}

bool never_blocks_and_is_not_inherited(int fd) {
  return (::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0 && (::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0;
}

/// Every test runs over both families.
class OverEither : public testing::TestWithParam<int> {
 protected:
  Address any_port() const { return loopback(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Family, OverEither, testing::Values(AF_INET, AF_INET6),
                         [](const auto& info) { return info.param == AF_INET ? "IPv4" : "IPv6"; });

TEST_P(OverEither, AConnectionIsAcceptedWithBothAddresses) {
  const auto listener = listen(any_port());
  ASSERT_TRUE(listener.has_value()) << listener.error().text();
  const Address here = local_address(listener->get());
  EXPECT_NE(here.port(), 0);
  EXPECT_EQ(here.family(), GetParam());
  EXPECT_EQ(here.ip_bytes(), any_port().ip_bytes());
  const base::Fd client = dial(here);
  const Accepted accepted = accept_one(listener->get());
  EXPECT_EQ(accepted.peer, local_address(client.get()));
  EXPECT_EQ(accepted.peer, peer_address(accepted.socket.get()));
  EXPECT_EQ(local_address(accepted.socket.get()), here);
}

TEST_P(OverEither, SocketsNeverBlockAndAreNotInherited) {
  const auto listener = listen(any_port());
  ASSERT_TRUE(listener.has_value());
  const auto towards_target = stream_socket(any_port());
  ASSERT_TRUE(towards_target.has_value());
  const base::Fd client = dial(local_address(listener->get()));
  const Accepted accepted = accept_one(listener->get());
  for (const int fd : {listener->get(), towards_target->get(), accepted.socket.get()}) {
    EXPECT_TRUE(never_blocks_and_is_not_inherited(fd));
  }
  EXPECT_EQ(option(towards_target->get(), SOL_SOCKET, SO_DOMAIN), GetParam());
}

TEST_P(OverEither, AListenerThatWasShutListensAgainOnItsPort) {
  const auto listener = listen(any_port());
  ASSERT_TRUE(listener.has_value());
  const Address here = local_address(listener->get());
  for (int round = 0; round < 3; ++round) {
    stop_listening(listener->get());
    ASSERT_TRUE(listen_again(listener->get()).has_value());
    EXPECT_EQ(local_address(listener->get()), here);
    const base::Fd client = dial(here);
    EXPECT_EQ(accept_one(listener->get()).peer, local_address(client.get()));
  }
}

TEST_P(OverEither, AnEmptyQueueIsEagain) {
  const auto listener = listen(any_port());
  ASSERT_TRUE(listener.has_value());
  const auto accepted = accept(listener->get());
  ASSERT_FALSE(accepted.has_value());
  EXPECT_EQ(accepted.error(), EAGAIN);
}

TEST_P(OverEither, WorkersShareAnAddress) {
  const auto first = listen(any_port());
  ASSERT_TRUE(first.has_value());
  const auto second = listen(local_address(first->get()));
  ASSERT_TRUE(second.has_value()) << second.error().text();
  EXPECT_EQ(local_address(first->get()), local_address(second->get()));
}

TEST_P(OverEither, AnAddressInUseIsNotFree) {
  EXPECT_TRUE(expect_free(any_port()).has_value());
  Address address;
  {
    const auto ours = listen(any_port());  // SO_REUSEPORT, as another tlsplice of the same user has it
    ASSERT_TRUE(ours.has_value());
    address = local_address(ours->get());
    const auto taken = expect_free(address);
    ASSERT_FALSE(taken.has_value());
    EXPECT_EQ(taken.error().errnum, EADDRINUSE);
    EXPECT_EQ(taken.error().text(), "bind " + address.text() + ": Address already in use");
  }
  EXPECT_TRUE(expect_free(address).has_value());
}

TEST_P(OverEither, ConnectionsInTimeWaitAreNoObstacle) {
  auto listener = listen(any_port());
  ASSERT_TRUE(listener.has_value());
  const Address address = local_address(listener->get());
  base::Fd client = dial(address);
  {
    const Accepted accepted = accept_one(listener->get());
  }  // our side ends first, so TIME_WAIT is ours
  client.reset();
  listener->reset();
  EXPECT_TRUE(expect_free(address).has_value());
  EXPECT_TRUE(listen(address).has_value());
}

TEST_P(OverEither, TheSynSequenceIsWhatTheClientSent) {
  const auto listener = listen(any_port());
  ASSERT_TRUE(listener.has_value());
  const base::Fd client = dial(local_address(listener->get()));
  const Accepted accepted = accept_one(listener->get());
  // TCP_REPAIR shows the client's next sequence number: one beyond its SYN.
  const int on = 1;
  if (::setsockopt(client.get(), IPPROTO_TCP, TCP_REPAIR, &on, sizeof on) != 0) {
    GTEST_SKIP() << "TCP_REPAIR needs CAP_NET_ADMIN";
  }
  const int send_queue = 2;  // TCP_SEND_QUEUE
  ASSERT_EQ(::setsockopt(client.get(), IPPROTO_TCP, TCP_REPAIR_QUEUE, &send_queue, sizeof send_queue), 0);
  const auto next = static_cast<std::uint32_t>(option(client.get(), IPPROTO_TCP, TCP_QUEUE_SEQ));
  EXPECT_EQ(syn_sequence(accepted.socket.get()), next - 1);
}

TEST_P(OverEither, SynSequencesDoNotRepeat) {
  const auto listener = listen(any_port());
  ASSERT_TRUE(listener.has_value());
  std::set<std::uint32_t> seen;
  constexpr std::size_t kConnections = 64;
  for (std::size_t i = 0; i < kConnections; ++i) {
    const base::Fd client = dial(local_address(listener->get()));
    const Accepted accepted = accept_one(listener->get());
    seen.insert(syn_sequence(accepted.socket.get()));
  }
  EXPECT_EQ(seen.size(), kConnections);
  EXPECT_FALSE(seen.contains(0));
}

TEST_P(OverEither, TheSavedSynIsReadOnce) {
  const auto listener = listen(any_port());
  ASSERT_TRUE(listener.has_value());
  const base::Fd client = dial(local_address(listener->get()));
  const Accepted accepted = accept_one(listener->get());
  EXPECT_NE(syn_sequence(accepted.socket.get()), 0u);
  EXPECT_EQ(syn_sequence(accepted.socket.get()), 0u);
}

TEST(Socket, WithoutASavedSynTheSequenceIsZero) {
  const Connection connection = tests::connection();
  EXPECT_EQ(syn_sequence(connection.peer.get()), 0u);
  EXPECT_EQ(syn_sequence(-1), 0u);
}

/// The port that the kernel picks for one family may be in use in the other, by connections of tests beside
/// this one or by what the kernel remembers of them; a socket that takes both families fails on every port.
TEST(Socket, BothFamiliesListenOnOnePort) {
  constexpr int kPorts = 64;
  std::vector<base::Fd> tried;  // stay open, so that every try is another port
  base::Result<base::Fd> four = base::fail(base::Error::invalid("no port was tried"));
  while (!four.has_value() && tried.size() < kPorts) {
    auto six = listen(*Address::parse("::", 0));
    ASSERT_TRUE(six.has_value()) << six.error().text();
    EXPECT_EQ(option(six->get(), IPPROTO_IPV6, IPV6_V6ONLY), 1);
    four = listen(*Address::parse("0.0.0.0", local_address(six->get()).port()));
    tried.push_back(std::move(*six));
  }
  EXPECT_TRUE(four.has_value()) << "the last of " << tried.size() << " ports: " << four.error().text();
}

TEST(Socket, AnAddressOfAnotherMachineIsRefusedByName) {
  const Address elsewhere = *Address::parse("192.0.2.1", 4433);
  const auto listener = listen(elsewhere);
  ASSERT_FALSE(listener.has_value());
  EXPECT_EQ(listener.error().text(), "bind 192.0.2.1:4433: Cannot assign requested address");
  EXPECT_FALSE(expect_free(elsewhere).has_value());
}

TEST(Socket, AnEmptyAddressIsAnError) {
  EXPECT_FALSE(stream_socket(Address()).has_value());
  EXPECT_FALSE(listen(Address()).has_value());
  EXPECT_FALSE(expect_free(Address()).has_value());
  EXPECT_EQ(local_address(-1), Address());
  EXPECT_EQ(peer_address(-1), Address());
}

TEST(Socket, AcceptOnWhatDoesNotListenIsAnErrno) {
  EXPECT_EQ(accept(-1).error(), EBADF);
  EXPECT_EQ(accept(stream_socket(loopback(AF_INET))->get()).error(), EINVAL);
}

TEST(Socket, APendingErrorIsReadOnce) {
  Address nobody;
  {
    const auto listener = listen(loopback(AF_INET));
    ASSERT_TRUE(listener.has_value());
    nobody = local_address(listener->get());
  }
  const auto socket = stream_socket(nobody);
  ASSERT_TRUE(socket.has_value());
  ASSERT_NE(::connect(socket->get(), nobody.data(), nobody.size()), 0);
  ASSERT_TRUE(errno == EINPROGRESS || errno == ECONNREFUSED);
  if (errno == EINPROGRESS) {
    pollfd answered{.fd = socket->get(), .events = POLLOUT, .revents = 0};
    ASSERT_EQ(::poll(&answered, 1, 30'000), 1);
    EXPECT_EQ(pending_error(socket->get()), ECONNREFUSED);
  }
  EXPECT_EQ(pending_error(socket->get()), 0);
  EXPECT_EQ(pending_error(-1), EBADF);
}

TEST(Socket, NoDelayIsSet) {
  const Connection connection = tests::connection();
  EXPECT_EQ(option(connection.ours.get(), IPPROTO_TCP, TCP_NODELAY), 0);
  set_no_delay(connection.ours.get());
  EXPECT_EQ(option(connection.ours.get(), IPPROTO_TCP, TCP_NODELAY), 1);
}

TEST(Socket, ClosingIsAnEndForThePeer) {
  Connection connection = tests::connection();
  connection.ours.reset();
  char byte = 0;
  EXPECT_EQ(::recv(connection.peer.get(), &byte, 1, 0), 0);
}

TEST(Socket, ResetOnCloseIsAResetForThePeer) {
  Connection connection = tests::connection();
  reset_on_close(connection.ours.get());
  connection.ours.reset();
  char byte = 0;
  EXPECT_EQ(::recv(connection.peer.get(), &byte, 1, 0), -1);
  EXPECT_EQ(errno, ECONNRESET);
}

/// As the user nobody, which has no capability, if not this process's.
std::string speak_as(const Address& source, bool unprivileged) {
  return tests::in_child([&]() -> std::string {
    if (unprivileged && ::setuid(65534) != 0) return "setuid";
    auto socket = stream_socket_from(source);
    if (!socket) return socket.error().text();
    if (!never_blocks_and_is_not_inherited(socket->get())) return "blocks, or is inherited";
    return local_address(socket->get()).text();
  });
}

TEST(Socket, SpeaksAsSomebodyElseWhereItMay) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs CAP_NET_RAW";
  EXPECT_EQ(speak_as(*Address::parse("203.0.113.5", 50'000), false), "203.0.113.5:0");
  EXPECT_EQ(speak_as(*Address::parse("2001:db8::5", 50'000), false), "[2001:db8::5]:0");
}

TEST(Socket, SpeaksAsNobodyElseWithoutTheRight) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to become nobody";
  EXPECT_EQ(speak_as(*Address::parse("203.0.113.5", 50'000), true),
            "speak as 203.0.113.5:50000: Operation not permitted");
}

}  // namespace
}  // namespace tlsplice::net
