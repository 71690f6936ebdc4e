// Promised: one request goes out, byte for byte, over the connection that was given; the status of the final
// response is known as soon as its headers are whole, in whatever pieces they come; what is no response is
// told apart; whatever comes, little of it is kept and there is an end. Checked against a peer on loopback.
#include "../../src/monitor/http.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cerrno>
#include <random>

#include "tlsplice/net/socket.hpp"

namespace tlsplice::monitor {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
constexpr std::string_view kTooLong = "no HTTP response: its headers are longer than 16 KiB";
constexpr std::string_view kClosed = "read the response: the target closed the connection";

struct Pair {
  base::Fd client;
  base::Fd peer;
};

Pair connect(const char* host) {
  const auto listening = net::listen_alone(net::Address::parse(host, 0).value());
  const net::Address address = net::local_address(listening->get());
  base::Fd client = net::stream_socket(address).value();
  EXPECT_EQ(::connect(client.get(), address.data(), address.size()), -1);
  EXPECT_EQ(errno, EINPROGRESS);
  auto accepted = net::accept(listening->get());
  EXPECT_TRUE(accepted.has_value());
  return {std::move(client), std::move(accepted->socket)};
}

class HttpTest : public testing::Test {
 protected:
  void begin(const char* host = "127.0.0.1", const tls::Context* context = nullptr) {
    Pair pair = connect(host);
    peer_ = std::move(pair.peer);
    told_ = 0;
    exchange_ = Exchange::begin(
        *http_, std::move(pair.client),
        {.peer = net::local_address(peer_.get()),
         .path = "/a?b=%20/../c",
         .host = "192.0.2.1:443",
         .user_agent = "Tester/1",
         .context = context},
        [](void* self) { ++static_cast<HttpTest*>(self)->told_; }, this);
    ASSERT_NE(exchange_, nullptr);
  }
  /// As far as it goes by itself.
  void turn() { event_base_loop(loop_.get(), EVLOOP_NONBLOCK); }
  std::string received() {
    std::string text(4096, '\0');
    const ssize_t got = ::recv(peer_.get(), text.data(), text.size(), MSG_DONTWAIT);
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return text;
  }
  std::string request() {
    std::string text;
    for (int i = 0; i < 1000 && !text.contains("\r\n\r\n"); ++i) {
      turn();
      text += received();
    }
    return text;
  }
  /// As much of it as the exchange takes, in pieces.
  std::size_t send(std::string_view text, std::size_t piece = std::string_view::npos) {
    const std::size_t all = text.size();
    for (int full = 0; !text.empty() && !exchange_->over() && full < 1000; turn()) {
      const ssize_t sent =
          ::send(peer_.get(), text.data(), std::min(piece, text.size()), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0 && errno != EAGAIN) break;
      full = sent < 0 ? full + 1 : 0;
      text.remove_prefix(sent < 0 ? 0 : static_cast<std::size_t>(sent));
    }
    return all - text.size();
  }
  /// After the peer's FIN.
  void end() {
    ::shutdown(peer_.get(), SHUT_WR);
    for (int i = 0; i < 1000 && !exchange_->over(); ++i) turn();
    EXPECT_TRUE(exchange_->over());
  }
  /// What became of a response, the connection closed after it: the status, or why there is none.
  std::string read(std::string_view response, std::size_t piece = std::string_view::npos) {
    begin();
    request();
    send(response, piece);
    end();
    EXPECT_EQ(exchange_->status().has_value(), exchange_->trouble().empty());
    return exchange_->status() ? std::to_string(*exchange_->status()) : exchange_->trouble();
  }

  Loop loop_ = make_loop();
  std::unique_ptr<Http> http_ = Http::make(loop_.get(), true).value();
  base::Fd peer_;
  std::unique_ptr<Exchange> exchange_;
  int told_ = 0;
};

TEST_F(HttpTest, TheRequestIsWhatWasAskedFor) {
  ::setenv("http_proxy", "http://127.0.0.1:9", 1);
  for (const char* host : {"127.0.0.1", "::1"}) {
    begin(host);
    EXPECT_EQ(request(),
              "GET /a?b=%20/../c HTTP/1.1\r\nHost: 192.0.2.1:443\r\nUser-Agent: Tester/1\r\nAccept: */*\r\n"
              "Connection: close\r\n\r\n");
  }
  ::unsetenv("http_proxy");
}

TEST_F(HttpTest, TheStatusIsKnownAtTheEmptyLine) {
  for (std::size_t piece : {std::string_view::npos, 1UZ, 7UZ}) {
    begin();
    request();
    send(kOk.substr(0, kOk.size() - 1), piece);
    EXPECT_FALSE(exchange_->status().has_value());
    EXPECT_EQ(told_, 0);
    send(kOk.substr(kOk.size() - 1));
    for (int i = 0; i < 1000 && told_ == 0; ++i) turn();
    EXPECT_EQ(exchange_->status(), 200u);
    EXPECT_FALSE(exchange_->over());
    send("hi");
    for (int i = 0; i < 1000 && told_ == 1; ++i) turn();
    EXPECT_TRUE(exchange_->over());
    EXPECT_EQ(told_, 2);
  }
}

TEST_F(HttpTest, LinesMayBeOfEitherKind) {
  EXPECT_EQ(read("HTTP/1.0 404 Not Found\nA: b\n\n"), "404");
  EXPECT_EQ(read("HTTP/1.1 204\r\n\r\n"), "204");
  EXPECT_EQ(read("HTTP/1.1 599 \r\nA:\r\n  folded\r\n\r\n"), "599");
}

TEST_F(HttpTest, InterimResponsesArePassedOver) {
  EXPECT_EQ(read("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"), kClosed);
  EXPECT_EQ(read("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\n\r\n"), "503");
}

TEST_F(HttpTest, WhatIsNoResponseIsToldApart) {
  for (const std::string_view text :
       {"\r\n"sv, "SSH-2.0-OpenSSH\r\n"sv, " HTTP/1.1 200 OK\r\n\r\n"sv, "\0\1\n"sv})
    EXPECT_EQ(read(text), "no HTTP response: its first line is none of HTTP/1") << text;
  for (const char* text :
       {"HTTP/1.1 20\r\n\r\n", "HTTP/1.1 2000\r\n\r\n", "HTTP/1.1 20x OK\r\n\r\n", "HTTP/1.1 099 OK\r\n\r\n"})
    EXPECT_EQ(read(text), "no HTTP response: Unsupported response code in HTTP response") << text;
  EXPECT_EQ(read("HTTP/1.1 200 OK\r\nno colon\r\n\r\n"), "no HTTP response: Header without colon");
  EXPECT_EQ(read("HTTP/1.1 200 OK\r\nA: \0\r\n\r\n"sv), "no HTTP response: Nul byte in header");
  for (const char* text :
       {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: no\r\n\r\n"})
    EXPECT_EQ(read(text), "no HTTP response: Invalid Content-Length: value") << text;
  // Nobody waits for an upgrade that nobody asked for.
  EXPECT_EQ(read("HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), kClosed);
}

TEST_F(HttpTest, WhatIsAlmostAResponseIsOne) {
  for (const char* text : {"HTTP/1.1  200 OK\r\n\r\n", "http/1.1 200 OK\r\n\r\n", "HTTP/2 200\r\n\r\n",
                           "HTTP/1.1 200 OK\r\n: no name\r\n\r\n", "HTTP/1.1 200 OK\r\na name: x\r\n\r\n"})
    EXPECT_EQ(read(text), "200") << text;
}

TEST_F(HttpTest, HeadersHaveALimit) {
  std::string many = "HTTP/1.1 200 OK\r\n";
  while (many.size() <= Exchange::kHeadMax) many += "A: b\r\n";
  EXPECT_EQ(read(many), kTooLong);
  std::string interim;
  while (interim.size() <= Exchange::kHeadMax) interim += "HTTP/1.1 100 Continue\r\n\r\n";
  EXPECT_EQ(read(interim), kTooLong);
  for (const char* begun : {"HTTP/1.1 200 ", "HTTP/1.1 200 OK\r\nA: "})
    EXPECT_EQ(read(begun + std::string(1 << 20, 'a')), kTooLong) << begun;
}

TEST_F(HttpTest, ContentHasALimit) {
  const std::string much(4 << 20, '0');
  for (const char* kind : {"", "Content-Length: 100000000000\r\n", "Transfer-Encoding: chunked\r\n"}) {
    begin();
    request();
    const std::string begun = fmt::format("HTTP/1.1 200 OK\r\n{}\r\n", kind);
    const std::string size = begun.contains("chunked") ? "6400000\r\n" : "";
    EXPECT_LT(send(begun + size + much), much.size()) << kind;
    EXPECT_TRUE(exchange_->over()) << kind;
    EXPECT_EQ(exchange_->status(), 200u) << kind;
  }
}

TEST_F(HttpTest, ContentMayBeAnything) {
  const std::string chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  std::string trailers = "0\r\n";
  while (trailers.size() < 1 << 20) trailers += "X-Again: and again\r\n";
  for (const std::string& content :
       {std::string("no size"), std::string("FFFFFFFFFFFFFFFFFFFFFFFF\r\n"), "1;" + std::string(1 << 20, 'a'),
        "0\r\nA: " + std::string(1 << 20, 'a'), trailers, std::string("2\r\nhi\r\n0\r\n\r\nmore")})
    EXPECT_EQ(read(chunked + content), "200") << content.substr(0, 30);
  for (const char* encoded : {"Content-Encoding: gzip", "Content-Encoding: br", "Transfer-Encoding: gzip",
                              "Location: http://127.0.0.1:9/"})
    EXPECT_EQ(read(fmt::format("HTTP/1.1 200 OK\r\n{}\r\n\r\n\x1f\x8b garbage", encoded)), "200") << encoded;
}

TEST_F(HttpTest, HangingUpIsToldApart) {
  EXPECT_EQ(read(""), kClosed);
  EXPECT_EQ(read("HTTP/1.1 200 O"), kClosed);
  EXPECT_EQ(read("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"), kClosed);
  begin();
  request();
  net::reset_on_close(peer_.get());
  peer_.reset();
  for (int i = 0; i < 1000 && !exchange_->over(); ++i) turn();
  EXPECT_EQ(exchange_->trouble(), "read the response: Connection reset by peer");
}

TEST_F(HttpTest, TlsThatFailsIsToldApart) {
  const tls::Context context = tls::Context::client().value();
  begin("127.0.0.1", &context);
  while (received().empty()) turn();
  EXPECT_TRUE(exchange_->in_handshake());
  send("HTTP/1.0 400 Bad Request\r\n\r\n");
  for (int i = 0; i < 1000 && !exchange_->over(); ++i) turn();
  EXPECT_EQ(exchange_->trouble(), "TLS handshake: wrong version number");
  begin("127.0.0.1", &context);
  while (received().empty()) turn();
  end();
  EXPECT_EQ(exchange_->trouble(), "TLS handshake: the target closed the connection");
  begin("127.0.0.1", &context);
  while (received().empty()) turn();
  net::reset_on_close(peer_.get());
  peer_.reset();
  for (int i = 0; i < 1000 && !exchange_->over(); ++i) turn();
  EXPECT_EQ(exchange_->trouble(), "TLS handshake: Connection reset by peer");
}

/// At any time, and the connection with it.
TEST_F(HttpTest, DestroyingItEndsIt) {
  for (int turns = 0; turns < 20; ++turns) {
    begin();
    for (int i = 0; i < turns; ++i) turn();
    if (turns > 10) send("HTTP/1.1 200 OK\r\n\r\nhi");
    exchange_.reset();
    for (int i = 0; i < 3; ++i) turn();
    received();
    char byte = 0;
    const ssize_t left = ::recv(peer_.get(), &byte, 1, MSG_DONTWAIT);
    EXPECT_TRUE(left == 0 || (left < 0 && errno == ECONNRESET)) << turns;
  }
}

/// Without a connection they fail together; the first to be told ends them all.
TEST_F(HttpTest, WhoeverIsToldMayDestroyOthers) {
  struct All {
    std::vector<std::unique_ptr<Exchange>> exchanges;
    int told = 0;
  } all;
  for (int i = 0; i < 8; ++i) {
    all.exchanges.push_back(Exchange::begin(
        *http_, base::Fd(),
        {.peer = net::Address::parse("127.0.0.1", 9).value(), .path = "/", .host = "a", .user_agent = "b"},
        [](void* self) {
          ++static_cast<All*>(self)->told;
          static_cast<All*>(self)->exchanges.clear();
        },
        &all));
  }
  for (int i = 0; i < 1000; ++i) turn();
  EXPECT_EQ(all.told, 1);
}

TEST_F(HttpTest, PiecesDoNotMatter) {
  std::mt19937 random(7);
  const std::string_view letters = "HTTP/1. 2:\r\n\n\n0aA\t";
  for (int i = 0; i < 200; ++i) {
    std::string text = i % 2 == 0 ? "HTTP/1.1 200\r\n" : "";
    for (std::uint32_t n = random() % 40; n > 0; --n) text += letters[random() % letters.size()];
    const std::string whole = read(text);
    EXPECT_EQ(read(text, random() % 5 + 1), whole) << text;
  }
}

}  // namespace
}  // namespace tlsplice::monitor
