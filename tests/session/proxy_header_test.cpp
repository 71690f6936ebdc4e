// Promised: a target is told who its client is whatever its socket takes at a time: the header arrives whole,
// once, in front of everything else, and a target that never takes it costs no more than the time limit.
// Checked on sockets that were filled before.
#include "../../src/session/proxy_header.hpp"

#include <gtest/gtest.h>

#include "../relay/flow.hpp"
#include "tlsplice/proxy_protocol/header.hpp"

namespace tlsplice::session {
namespace {

using base::Fault;
using net::IoStatus;

constexpr int kSmallBuffer = 4096;
constexpr base::Milliseconds kSoon{100};

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

class ProxyHeader : public testing::Test {
 protected:
  ProxyHeader() {
    record_.client = net::peer_address(client_.ours.get());
    record_.destination = net::local_address(client_.ours.get());
    record_.target = net::peer_address(target_.ours.get());
  }

  Introduction introduction() { return {record_, settings_}; }
  std::string header() {
    const auto whole = introduction().header();
    return {reinterpret_cast<const char*>(whole.data()), whole.size()};
  }
  /// Until the socket towards the target takes no more, also a little later; that many bytes.
  std::size_t fill() {
    const std::string block(1024, '.');
    std::size_t filled = 0;
    for (bool rested = false;;) {
      const ssize_t n = ::send(target_.ours.get(), block.data(), block.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0 && rested) return filled;
      rested = n < 0;
      if (rested) std::this_thread::sleep_for(kSoon);
      if (n > 0) filled += static_cast<std::size_t>(n);
    }
  }
  /// The target's part: takes so many bytes.
  std::string take(std::size_t count) {
    std::string taken(count, '\0');
    const ssize_t n = ::recv(target_.peer.get(), taken.data(), count, MSG_WAITALL);
    taken.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return taken;
  }
  auto send(bool more, base::Milliseconds limit) {
    return world_.run(
        send_header(world_.ring(), world_.stop(), target_.ours.get(), introduction(), more, limit));
  }

  tests::World world_;
  tests::Connection client_ = tests::connection();
  tests::Connection target_ = tests::connection(kSmallBuffer);
  observe::FlowRecord record_;
  policy::ProxyProtocol settings_;
};

TEST_F(ProxyHeader, SaysWhatIsKnownAndWanted) {
  record_.server_name = "a.example";
  record_.protocol = "TLSv1.3";
  record_.cipher = "TLS_AES_128_GCM_SHA256";
  record_.tls = true;
  const net::Address listener = net::local_address(client_.ours.get());
  EXPECT_EQ(introduction().header(), proxy_protocol::proxy_header(record_.client, listener));
  settings_ = {.alpn = true};
  EXPECT_EQ(introduction().header(), proxy_protocol::proxy_header(record_.client, listener)) << "none agreed";
  record_.alpn = "h2";
  EXPECT_EQ(introduction().header(), proxy_protocol::proxy_header(record_.client, listener, {.alpn = "h2"}));
  settings_ = {.authority = true, .ssl = true};
  const proxy_protocol::Tls tls{"TLSv1.3", "TLS_AES_128_GCM_SHA256"};
  EXPECT_EQ(introduction().header(),
            proxy_protocol::proxy_header(record_.client, listener, {.authority = "a.example", .tls = tls}));
}

TEST_F(ProxyHeader, SentAtOnceWaitsForRoom) {
  const std::size_t filled = fill();
  std::string taken;
  std::jthread target([&] {
    std::this_thread::sleep_for(kSoon);
    taken = take(filled + header().size());
  });
  EXPECT_TRUE(send(false, tests::kPatience).has_value());
  target.join();
  EXPECT_EQ(taken.substr(filled), header());
}

TEST_F(ProxyHeader, SentAtOnceDoesNotWaitForEver) {
  fill();
  const auto sent = send(false, kSoon);
  ASSERT_FALSE(sent.has_value());
  EXPECT_EQ(sent.error().fault, Fault::kTimedOut);
}

TEST_F(ProxyHeader, SentAtOnceIsStopped) {
  fill();
  world_.stop().request();
  const auto sent = send(false, tests::kPatience);
  ASSERT_FALSE(sent.has_value());
  EXPECT_EQ(sent.error().fault, Fault::kStopped);
}

TEST_F(ProxyHeader, SentAtOnceMeetsAReset) {
  net::reset_on_close(target_.peer.get());
  target_.peer.reset();
  const auto sent = send(true, tests::kPatience);
  ASSERT_FALSE(sent.has_value());
  EXPECT_EQ(sent.error().fault, Fault::kReset);
}

class Headed : public ProxyHeader {
 protected:
  /// Writes until it is done; how many writes that took. `filled` bytes are in front.
  int write_all(HeadedStream& stream, std::string_view text, std::size_t filled) {
    std::jthread target([&] { taken_ = take(filled + header().size() + text.size()); });
    int writes = 0;
    for (auto left = bytes(text); !left.empty(); ++writes) {
      const net::Io io = stream.write(left);
      if (io.status == IoStatus::kDone)
        left = left.subspan(io.bytes);
      else if (io.status != IoStatus::kWantWrite)
        break;
    }
    return writes;
  }

  std::string taken_;
};

TEST_F(Headed, TheFirstWriteHasItInFront) {
  HeadedStream stream(std::move(target_.ours), introduction());
  const net::Io io = stream.write(bytes("hello"));
  EXPECT_EQ(io.status, IoStatus::kDone);
  EXPECT_EQ(io.bytes, 5u);
  EXPECT_EQ(stream.write(bytes(" again")).bytes, 6u);
  EXPECT_EQ(take(header().size() + 11), header() + "hello again");
}

TEST_F(Headed, AFullSocketTakesItInPieces) {
  const std::size_t filled = fill();
  HeadedStream stream(std::move(target_.ours), introduction());
  EXPECT_EQ(stream.write(bytes("x")).status, IoStatus::kWantWrite);
  EXPECT_EQ(stream.may_splice_in().status, IoStatus::kWantWrite);
  EXPECT_EQ(stream.end_write().status, IoStatus::kWantWrite);
  const std::string text = tests::pattern(100'000, 1);
  EXPECT_GT(write_all(stream, text, filled), 1);
  EXPECT_TRUE(taken_.substr(filled) == header() + text);
}

TEST_F(Headed, ASpliceHasItInFront) {
  HeadedStream stream(std::move(target_.ours), introduction());
  EXPECT_EQ(stream.may_splice_in().status, IoStatus::kDone);
  EXPECT_EQ(stream.may_splice_in().status, IoStatus::kDone);
  EXPECT_EQ(stream.write(bytes("x")).bytes, 1u);
  EXPECT_EQ(take(header().size() + 1), header() + "x");
}

TEST_F(Headed, AnEndHasItInFront) {
  HeadedStream stream(std::move(target_.ours), introduction());
  EXPECT_EQ(stream.end_write().status, IoStatus::kDone);
  const auto seen = tests::receive(target_.peer.get());
  EXPECT_EQ(seen.bytes, header());
  EXPECT_EQ(seen.end, tests::Saw::kFin);
}

TEST_F(Headed, AResetIsOne) {
  HeadedStream stream(std::move(target_.ours), introduction());
  net::reset_on_close(target_.peer.get());
  target_.peer.reset();
  EXPECT_EQ(stream.write(bytes("x")).status, IoStatus::kReset);
}

// What the memory of a resting flow has room for.
TEST(HeadedStream, CostsLittleMoreThanASocket) {
  EXPECT_LE(sizeof(HeadedStream), sizeof(net::SocketStream) + 24);
}

}  // namespace
}  // namespace tlsplice::session
