// Promised: a SocketStream moves bytes without waiting and names what it saw: data, an end, a reset, or what
// to wait for. Checked over loopback TCP, with the peer doing each of these things.
#include "tlsplice/net/stream.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <string>

#include "loopback.hpp"

namespace tlsplice::net {
namespace {

struct Pair {
  Pair() : Pair(tests::connection()) {}
  explicit Pair(tests::Connection connection)
      : stream(std::move(connection.ours)), peer(std::move(connection.peer)) {}
  void peer_resets() {
    reset_on_close(peer.get());
    peer.reset();
    tests::wait_for(stream.fd(), POLLIN);
  }

  SocketStream stream;
  base::Fd peer;
};

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

/// What was read, or the status as a word that no test sends.
std::string read(Stream& stream, std::size_t most = 1024) {
  std::string text(most, '\0');
  const Io io = stream.read(std::as_writable_bytes(std::span(text)));
  if (io.status != IoStatus::kDone) return "status " + std::to_string(static_cast<int>(io.status));
  return text.substr(0, io.bytes);
}

std::string status(IoStatus status) {
  return "status " + std::to_string(static_cast<int>(status));
}

TEST(SocketStream, HasNothingToReadAtFirst) {
  Pair pair;
  EXPECT_EQ(read(pair.stream), status(IoStatus::kWantRead));
  EXPECT_FALSE(pair.stream.wakes_early());
  EXPECT_EQ(pair.stream.splices_in(), Splicing::kWorthIt);
  EXPECT_EQ(pair.stream.splices_out(), Splicing::kWorthIt);
}

TEST(SocketStream, ReadsWhatThePeerSent) {
  Pair pair;
  ASSERT_EQ(::send(pair.peer.get(), "hello", 5, 0), 5);
  tests::wait_for(pair.stream.fd(), POLLIN);
  EXPECT_EQ(read(pair.stream), "hello");
  EXPECT_EQ(read(pair.stream), status(IoStatus::kWantRead));
}

TEST(SocketStream, IsDrainedByAShortRead) {
  Pair pair;
  ASSERT_EQ(::send(pair.peer.get(), "hello", 5, 0), 5);
  tests::wait_for(pair.stream.fd(), POLLIN);
  EXPECT_EQ(read(pair.stream, 2), "he");
  EXPECT_FALSE(pair.stream.drained());
  EXPECT_EQ(read(pair.stream, 4), "llo");
  EXPECT_TRUE(pair.stream.drained());
  ASSERT_EQ(::send(pair.peer.get(), "more", 4, 0), 4);
  tests::wait_for(pair.stream.fd(), POLLIN);
  EXPECT_EQ(read(pair.stream, 4), "more");
  EXPECT_FALSE(pair.stream.drained());  // it cannot know
}

TEST(SocketStream, SeesTheEndAfterTheLastByte) {
  Pair pair;
  ASSERT_EQ(::send(pair.peer.get(), "last", 4, 0), 4);
  ASSERT_EQ(::shutdown(pair.peer.get(), SHUT_WR), 0);
  tests::wait_for(pair.stream.fd(), POLLRDHUP);
  EXPECT_EQ(read(pair.stream), "last");
  EXPECT_EQ(read(pair.stream), status(IoStatus::kEnd));
  EXPECT_EQ(read(pair.stream), status(IoStatus::kEnd));
  EXPECT_EQ(pair.stream.write(bytes_of("answer")).bytes, 6u);  // the other direction is open
  char answer[16];
  EXPECT_EQ(::recv(pair.peer.get(), answer, sizeof answer, 0), 6);
}

TEST(SocketStream, EndsOneDirection) {
  Pair pair;
  EXPECT_EQ(pair.stream.write(bytes_of("bye")).bytes, 3u);
  EXPECT_EQ(pair.stream.end_write().status, IoStatus::kDone);
  char bytes[16];
  EXPECT_EQ(::recv(pair.peer.get(), bytes, 3, MSG_WAITALL), 3);
  EXPECT_EQ(::recv(pair.peer.get(), bytes, sizeof bytes, 0), 0);
  ASSERT_EQ(::send(pair.peer.get(), "still", 5, 0), 5);
  tests::wait_for(pair.stream.fd(), POLLIN);
  EXPECT_EQ(read(pair.stream), "still");
}

TEST(SocketStream, WritesUntilThePeerHasToRead) {
  Pair pair;
  const std::string block(256 * 1024, 'x');
  std::size_t sent = 0;
  Io io;
  for (; io.status == IoStatus::kDone; sent += io.bytes) io = pair.stream.write(bytes_of(block));
  EXPECT_EQ(io.status, IoStatus::kWantWrite);
  EXPECT_EQ(io.bytes, 0u);
  ASSERT_GT(sent, 0u);
  std::string piece(64 * 1024, '\0');
  std::size_t received = 0;
  while (received < sent) {
    const ssize_t n = ::recv(pair.peer.get(), piece.data(), piece.size(), 0);
    ASSERT_GT(n, 0);
    received += static_cast<std::size_t>(n);
  }
  EXPECT_EQ(received, sent);
  EXPECT_EQ(pair.stream.write(bytes_of("x")).status, IoStatus::kDone);
}

TEST(SocketStream, AResetIsSeenByReading) {
  Pair pair;
  pair.peer_resets();
  EXPECT_EQ(read(pair.stream), status(IoStatus::kReset));
}

TEST(SocketStream, AResetIsSeenByWritingWithoutASignal) {
  ::signal(SIGPIPE, SIG_DFL);  // one would end the test
  Pair pair;
  pair.peer_resets();
  EXPECT_EQ(pair.stream.write(bytes_of("x")).status, IoStatus::kReset);
  EXPECT_EQ(pair.stream.write(bytes_of("x")).status, IoStatus::kReset);  // now EPIPE
}

TEST(SocketStream, AResetIsSeenByEnding) {
  Pair pair;
  pair.peer_resets();
  EXPECT_EQ(pair.stream.end_write().status, IoStatus::kReset);
}

TEST(SocketStream, AResetAfterAnEndIsStillAReset) {
  Pair pair;
  ASSERT_EQ(::shutdown(pair.peer.get(), SHUT_WR), 0);
  tests::wait_for(pair.stream.fd(), POLLRDHUP);
  EXPECT_EQ(read(pair.stream), status(IoStatus::kEnd));
  reset_on_close(pair.peer.get());
  pair.peer.reset();
  tests::wait_for(pair.stream.fd(), POLLERR);
  EXPECT_EQ(pair.stream.write(bytes_of("x")).status, IoStatus::kReset);
}

TEST(StatusOf, TellsWaitingFromAPeerThatIsGone) {
  for (const IoStatus again : {IoStatus::kWantRead, IoStatus::kWantWrite}) {
    EXPECT_EQ(status_of(EAGAIN, again), again);
    EXPECT_EQ(status_of(EINTR, again), again);
    for (const int errnum : {ECONNRESET, EPIPE, ETIMEDOUT, EHOSTUNREACH, ENOTCONN, ENETDOWN}) {
      EXPECT_EQ(status_of(errnum, again), IoStatus::kReset) << errnum;
    }
  }
}

}  // namespace
}  // namespace tlsplice::net
