// Promised: connecting ends with a connected socket or with the reason why not: refused, timed out, stopped,
// exhausted. Checked on loopback with a listener, with nobody, and with a listener whose queue is full, so
// that a SYN stays without an answer.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cerrno>
#include <optional>
#include <vector>

#include "../tls/loopback.hpp"
#include "tlsplice/uring/ops.hpp"

namespace tlsplice::uring {
namespace {

using base::Fault;
using base::Milliseconds;
using net::Address;
using tests::World;
using Outcome = std::optional<base::Result<base::Fd>>;

Address nobodys_address() {
  return net::local_address(tests::listening().get());
}

/// Listens, but answers no more SYNs: its queue is full.
class FullListener {
 public:
  FullListener() : listener_(tests::listening(0, 0)) {
    for (int i = 0; i < 4; ++i) {
      auto socket = net::stream_socket(address());
      TLSPLICE_EXPECT(socket.has_value(), "the tests can open a socket");
      (void)::connect(socket->get(), address().data(), address().size());
      queued_.push_back(std::move(*socket));
    }
  }
  Address address() const { return net::local_address(listener_.get()); }

 private:
  base::Fd listener_;
  std::vector<base::Fd> queued_;
};

Task<void> connect_to(Ring& ring, Stop& stop, Address address, Milliseconds limit, Outcome& outcome) {
  outcome.emplace(co_await connect(ring, stop, address, limit));
}

Task<void> raw_connect(Ring& ring, Stop& stop, int fd, Address address, std::optional<int>& answer) {
  answer = co_await Connect(ring, stop, fd, address);
}

struct ConnectTest : testing::Test {
  World world;
  Ring& ring = world.ring();
  Stop stop;
  Gate gate{ring};
  Outcome outcome;

  void begin(Address address, Milliseconds limit = tests::kPatience) {
    spawn(gate, connect_to(ring, stop, address, limit, outcome));
  }
  void finish() { world.run_until_empty(gate); }
  Fault fault() const {
    TLSPLICE_EXPECT(outcome && !outcome->has_value(), "a test that expects an error has one");
    return outcome->error().fault;
  }
};

TEST_F(ConnectTest, YieldsAConnectedSocket) {
  for (const char* host : {"127.0.0.1", "::1"}) {
    const auto listener = net::listen(*Address::parse(host, 0));
    ASSERT_TRUE(listener.has_value());
    const Address address = net::local_address(listener->get());
    begin(address);
    finish();
    ASSERT_TRUE(outcome->has_value()) << outcome->error().text();
    const int socket = (*outcome)->get();
    EXPECT_EQ(net::peer_address(socket), address);
    EXPECT_TRUE(::fcntl(socket, F_GETFL) & O_NONBLOCK);
    EXPECT_TRUE(::fcntl(socket, F_GETFD) & FD_CLOEXEC);
    EXPECT_EQ(net::accept(listener->get())->peer, net::local_address(socket));
  }
}

TEST_F(ConnectTest, SaysWhoRefused) {
  const Address nobody = nobodys_address();
  begin(nobody);
  finish();
  EXPECT_EQ(fault(), Fault::kRefused);
  EXPECT_EQ(outcome->error().text(), "connect " + nobody.text() + ": Connection refused");
}

TEST_F(ConnectTest, TimesOutWithoutAnAnswer) {
  const FullListener full;
  const auto before = base::now();
  begin(full.address(), Milliseconds(100));
  finish();
  EXPECT_EQ(fault(), Fault::kTimedOut);
  EXPECT_GE(base::now() - before, Milliseconds(95));
  EXPECT_FALSE(stop.requested());  // its own time limit is nobody else's stop
}

TEST_F(ConnectTest, IsNotBegunWhenStopped) {
  const auto listener = tests::listening();
  stop.request();
  begin(net::local_address(listener.get()));
  EXPECT_EQ(fault(), Fault::kStopped);
  EXPECT_EQ(gate.inside(), 0u);
}

TEST_F(ConnectTest, IsStoppedBeforeSubmission) {
  const FullListener full;
  begin(full.address());
  stop.request();
  finish();
  EXPECT_EQ(fault(), Fault::kStopped);
}

TEST_F(ConnectTest, IsStoppedInFlight) {
  const FullListener full;
  begin(full.address());
  world.run_for(Milliseconds(20));
  EXPECT_FALSE(outcome.has_value());
  stop.request();
  finish();
  EXPECT_EQ(fault(), Fault::kStopped);
}

TEST_F(ConnectTest, StoppedTooLateItKeepsTheSocket) {
  const auto listener = tests::listening();
  begin(net::local_address(listener.get()));
  ASSERT_TRUE(ring.run_once().has_value());  // a connection over loopback is made at submission
  stop.request();
  finish();
  ASSERT_TRUE(outcome.has_value());
  // Whether the cancel won or not: either the socket is owned, or its end is named.
  EXPECT_TRUE(outcome->has_value() || fault() == Fault::kStopped);
}

TEST_F(ConnectTest, SaysThatDescriptorsAreOut) {
  const auto listener = tests::listening();
  const Address address = net::local_address(listener.get());
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  begin(address);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  finish();
  EXPECT_EQ(fault(), Fault::kExhausted);
  EXPECT_EQ(outcome->error().errnum, EMFILE);
}

TEST_F(ConnectTest, AnEmptyAddressIsAnError) {
  begin(Address());
  finish();
  EXPECT_EQ(fault(), Fault::kSystem);
}

TEST_F(ConnectTest, ManyAtOnce) {
  const auto listener = tests::listening();
  const Address address = net::local_address(listener.get());
  std::vector<Outcome> outcomes(100);
  for (Outcome& one : outcomes) spawn(gate, connect_to(ring, stop, address, tests::kPatience, one));
  finish();
  for (const Outcome& one : outcomes) EXPECT_TRUE(one && one->has_value());
}

struct RawConnectTest : ConnectTest {
  std::optional<int> answer;
  std::optional<base::Fd> socket;

  void begin_raw(Address address) {
    socket = std::move(*net::stream_socket(address));
    spawn(gate, raw_connect(ring, stop, socket->get(), address, answer));
  }
};

TEST_F(RawConnectTest, YieldsTheKernelsAnswer) {
  const auto listener = tests::listening();
  begin_raw(net::local_address(listener.get()));
  finish();
  EXPECT_EQ(answer, 0);
  begin_raw(nobodys_address());
  finish();
  EXPECT_EQ(answer, -ECONNREFUSED);
}

TEST_F(RawConnectTest, YieldsECanceledWhenStopped) {
  const FullListener full;
  begin_raw(full.address());
  world.run_for(Milliseconds(10));
  EXPECT_FALSE(answer.has_value());
  stop.request();
  finish();
  EXPECT_EQ(answer, -ECANCELED);
  answer.reset();
  begin_raw(full.address());
  EXPECT_EQ(answer, -ECANCELED);  // at once, under a Stop that was requested
}

}  // namespace
}  // namespace tlsplice::uring
