// Promised: where a listener accepts the PROXY protocol's header, a trusted peer's connection is served for
// the client that the header names, to the last byte of what follows it; without a header it ends, named and
// counted. Of everybody else nothing is read as a header.
#include <gtest/gtest.h>

#include "service.hpp"
#include "tlsplice/proxy_protocol/header.hpp"

namespace tlsplice::session {
namespace {

using tests::C;
using tests::Line;
using tests::Saw;
using tests::TlsPeer;

constexpr std::string_view kLine = "PROXY TCP4 192.0.2.1 198.51.100.7 50000 443\r\n";

class ClientHeaderTest : public tests::ServiceTest {
 protected:
  ClientHeaderTest() { trust("127.0.0.0", 8); }

  void trust(const char* network, unsigned prefix) {
    service_.proxy_protocol_from = {net::Network(*net::Address::parse(network, 0), prefix)};
  }

  /// A client of a TCP listener that says this and hears "pong!".
  static tests::Act says(std::vector<std::string> pieces) {
    return [pieces = std::move(pieces)](base::Fd& socket) {
      for (const std::string& piece : pieces) {
        tests::send_all(socket.get(), piece);
        ::usleep(1000);
      }
      tests::end_write(socket);
      EXPECT_EQ(tests::receive(socket.get()).bytes, "pong!");
    };
  }
  /// A target that must hear exactly this.
  static tests::Act hears(std::string bytes) {
    return [bytes = std::move(bytes)](base::Fd& socket) {
      EXPECT_EQ(tests::receive(socket.get()).bytes, bytes);
      tests::send_all(socket.get(), "pong!");
      tests::end_write(socket);
    };
  }
  /// A client that says this and then only waits for the end.
  static tests::Act only_says(std::string bytes, bool ends = false) {
    return [bytes = std::move(bytes), ends](base::Fd& socket) {
      tests::send_all(socket.get(), bytes);
      if (ends) tests::end_write(socket);
      tests::receive(socket.get());
    };
  }
};

TEST_F(ClientHeaderTest, ALineNamesTheClient) {
  const Line line = serve(says({std::string(kLine) + "ping"}), hears("ping"));
  EXPECT_EQ(line.at("client"), "192.0.2.1:50000");
  EXPECT_EQ(line.at("end"), "closed");
  EXPECT_EQ(line.at("received_bytes"), "4");
  EXPECT_EQ(count(&C::ProxyHeaderErrorCount), 0u);
}

TEST_F(ClientHeaderTest, AFrameNamesTheClientHoweverItComes) {
  const auto header = proxy_protocol::proxy_header(*net::Address::parse("2001:db8::1", 7),
                                                   *net::Address::parse("2001:db8::2", 443));
  const std::string text(reinterpret_cast<const char*>(header.data()), header.size());
  const Line line =
      serve(says({text.substr(0, 1), text.substr(1, 15), text.substr(16, 50), text.substr(66) + "pi", "ng"}),
            hears("ping"));
  EXPECT_EQ(line.at("client"), "[2001:db8::1]:7");
  EXPECT_EQ(line.at("received_bytes"), "4");
}

TEST_F(ClientHeaderTest, TheHelloFollowsIt) {
  listen_with_tls();
  const Line line = serve(
      [](base::Fd& socket) {
        tests::send_all(socket.get(), kLine);
        TlsPeer peer = TlsPeer::client(std::move(socket), {TLS1_2_VERSION, "ECDHE-RSA-AES128-GCM-SHA256"});
        EXPECT_TRUE(peer.handshake() && peer.write("ping") && peer.close_notify()) << peer.failure();
        EXPECT_EQ(peer.read().bytes, "pong!");
      },
      hears("ping"));
  EXPECT_EQ(line.at("client"), "192.0.2.1:50000");
  EXPECT_EQ(line.at("protocol"), "TLSv1.2");
}

TEST_F(ClientHeaderTest, AConnectionOfTheProxysOwnIsThePeers) {
  const Line line = serve(says({"PROXY UNKNOWN\r\nping"}), hears("ping"));
  EXPECT_EQ(line.at("client"), client_address_.text());
}

TEST_F(ClientHeaderTest, WhatIsNoHeaderEndsTheConnection) {
  const Line line = serve(only_says("ping, ping, ping"));
  EXPECT_EQ(line.at("end"), "proxy_header_failed");
  EXPECT_EQ(line.at("detail"), "no proxy protocol header: the connection begins with something else");
  EXPECT_EQ(line.at("client"), client_address_.text());
  EXPECT_EQ(count(&C::ProxyHeaderErrorCount), 1u);
}

TEST_F(ClientHeaderTest, AnEndBeforeItIsNamed) {
  const Line line = serve(only_says("PROXY TCP4 192.0", true));
  EXPECT_EQ(line.at("end"), "proxy_header_failed");
  EXPECT_EQ(line.at("detail"), "no proxy protocol header: the connection ended before it");
  EXPECT_EQ(count(&C::ProxyHeaderErrorCount), 1u);
}

TEST_F(ClientHeaderTest, SilenceEndsWithTheHandshakesTime) {
  service_.handshake_timeout = base::Milliseconds(30);
  const Line line = serve(only_says("PROXY "));
  EXPECT_EQ(line.at("end"), "proxy_header_failed");
  EXPECT_EQ(count(&C::ProxyHeaderErrorCount), 1u);
}

TEST_F(ClientHeaderTest, OfOthersNothingIsAHeader) {
  trust("10.0.0.0", 8);
  const std::string all = std::string(kLine) + "ping";
  const Line line = serve(says({all}), hears(all));
  EXPECT_EQ(line.at("client"), client_address_.text());
}

}  // namespace
}  // namespace tlsplice::session
