// Promised: GET and HEAD of the pages that there are; whoever sends too slowly, too much or garbage is sent
// away, and a connection too many costs the one that waited longest, never a good client. Checked on a server
// that this thread runs itself, with the time that the test says it is.
#include "../../src/monitor/server.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "tlsplice/net/socket.hpp"

namespace tlsplice::monitor {
namespace {

using namespace std::chrono_literals;
using base::Instant;

class ServerTest : public testing::Test {
 protected:
  void SetUp() override {
    auto listening = net::listen_alone(net::Address::parse("127.0.0.1", 0).value());
    ASSERT_TRUE(listening.has_value());
    address_ = net::local_address(listening->get());
    ASSERT_TRUE(server_.start(std::move(*listening)).has_value());
  }

  base::Fd connect() {
    base::Fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(client.get(), address_.data(), address_.size()), 0);
    return client;
  }
  void run(int rounds = 20) {
    for (int i = 0; i < rounds; ++i) {
      pollfd ready{.fd = server_.descriptor(), .events = POLLIN, .revents = 0};
      ::poll(&ready, 1, 1);
      server_.run(now_);
    }
  }
  static void send(const base::Fd& client, std::string_view text) {
    ASSERT_EQ(::send(client.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  /// What has come so far.
  static std::string received(const base::Fd& client) {
    std::string text(1 << 20, '\0');
    const ssize_t got = ::recv(client.get(), text.data(), text.size(), MSG_DONTWAIT);
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return text;
  }
  static bool ended(const base::Fd& client) {
    char byte = 0;
    const ssize_t got = ::recv(client.get(), &byte, 1, MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno != EAGAIN);
  }
  std::string ask(const base::Fd& client, std::string_view request) {
    send(client, request);
    run();
    return received(client);
  }
  std::string ask(std::string_view request) { return ask(connect(), request); }
  bool answers() { return ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").ends_with("numbers"); }

  Instant now_{1000s};
  int made_ = 0;
  net::Address address_;
  Server server_{
      {{"/metrics", "text/plain; version=0.0.4", [this] { return ++made_, std::string("numbers"); }}}, now_};
};

TEST_F(ServerTest, GetIsAnswered) {
  const std::string answer = ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 ")) << answer;
  EXPECT_NE(answer.find("Content-Type: text/plain; version=0.0.4\r\n"), std::string::npos);
  EXPECT_TRUE(answer.ends_with("\r\n\r\nnumbers"));
}

TEST_F(ServerTest, HeadIsAnsweredWithoutThePage) {
  const std::string answer = ask("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 ")) << answer;
  EXPECT_NE(answer.find("Content-Length: 7\r\n"), std::string::npos) << answer;
  EXPECT_TRUE(answer.ends_with("\r\n\r\n"));
}

TEST_F(ServerTest, AConnectionServesAgain) {
  const base::Fd client = connect();
  for (int i = 0; i < 3; ++i)
    EXPECT_TRUE(ask(client, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").ends_with("numbers"));
  EXPECT_EQ(made_, 3);
}

TEST_F(ServerTest, WhatIsNotThereIsNotFound) {
  for (const char* path : {"/", "/metrics/", "/../etc/passwd", "/%00", "/METRICS"}) {
    const auto answer = ask(fmt::format("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", path));
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 404 ")) << path << ": " << answer;
  }
}

TEST_F(ServerTest, OtherMethodsAreNotAllowed) {
  for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW"}) {
    const auto answer =
        ask(fmt::format("{} /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", method));
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 405 ")) << method << ": " << answer;
    EXPECT_NE(answer.find("Allow: GET, HEAD\r\n"), std::string::npos);
  }
  EXPECT_EQ(made_, 0);
}

TEST_F(ServerTest, ContentIsNotRead) {
  EXPECT_TRUE(ask("GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000000\r\n\r\nabc")
                  .starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(ask("GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\nabc")
                  .starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(
      ask("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc").starts_with("HTTP/1.1 405 "));
}

TEST_F(ServerTest, GarbageAndHugeHeadersAreRefused) {
  const std::string garbage = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 \x00\xff\r\n\r\n";
  EXPECT_FALSE(ask(garbage).starts_with("HTTP/1.1 200"));
  const std::string huge = "GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + std::string(32 * 1024, 'x');
  EXPECT_FALSE(ask(huge).starts_with("HTTP/1.1 200"));
  const std::string many = [] {
    std::string text = "GET /metrics HTTP/1.1\r\nHost: x\r\n";
    for (int i = 0; i < 5000; ++i) text += fmt::format("A{}: b\r\n", i);
    return text + "\r\n";
  }();
  EXPECT_FALSE(ask(many).starts_with("HTTP/1.1 200"));
  EXPECT_TRUE(answers());
}

TEST_F(ServerTest, WhoDoesNotFinishARequestIsSentAway) {
  const base::Fd slow = connect();
  send(slow, "GET /metr");
  run();
  now_ += Server::kRequestTime - 1ms;
  send(slow, "i");
  run();
  EXPECT_FALSE(ended(slow));
  EXPECT_EQ(server_.until_next(now_), 1ms);
  now_ += 1ms;
  run();
  EXPECT_TRUE(ended(slow));
  EXPECT_TRUE(answers());
}

TEST_F(ServerTest, ARequestGivesAConnectionItsTimeAnew) {
  const base::Fd client = connect();
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(ask(client, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").ends_with("numbers"));
    now_ += Server::kRequestTime - 1ms;
    run();
  }
  EXPECT_FALSE(ended(client));
  now_ += 1ms;
  run();
  EXPECT_TRUE(ended(client));
}

TEST_F(ServerTest, AConnectionTooManyCostsTheOneThatWaitedLongest) {
  std::vector<base::Fd> idle;
  for (std::size_t i = 0; i < Server::kConnectionsMax; ++i) {
    idle.push_back(connect());
    run(1);
  }
  run();
  EXPECT_FALSE(ended(idle[0]));
  EXPECT_TRUE(answers());
  run();
  EXPECT_TRUE(ended(idle[0]));
  EXPECT_FALSE(ended(idle[1]));
  for (int i = 0; i < 500; ++i) {
    idle.push_back(connect());
    if (i % 10 == 0) run(1);
  }
  run(100);
  EXPECT_TRUE(answers());
  EXPECT_EQ(std::ranges::count_if(idle, [](const base::Fd& client) { return !ended(client); }),
            static_cast<long>(Server::kConnectionsMax) - 1);  // the good one came and went
}

}  // namespace
}  // namespace tlsplice::monitor
