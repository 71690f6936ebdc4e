// A connected TCP pair on loopback, and keys for both ends of one connection: what one end sends with, the
// other receives with. The bytes of the keys are arbitrary; only that both ends have the same ones matters.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include "tlsplice/ktls/kernel.hpp"
#include "tlsplice/net/socket.hpp"

namespace tlsplice::ktls {

struct Pair {
  base::Fd a;
  base::Fd b;

  Pair() {
    auto listener = net::listen(net::Address::parse("127.0.0.1", 0).value());
    const net::Address address = net::local_address(listener->get());
    a = base::Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(a.get(), address.data(), address.size()), 0);
    pollfd queue{.fd = listener->get(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&queue, 1, 30'000), 1);  // connect() may return before the other end can be accepted
    auto accepted = net::accept(listener->get());
    if (accepted) b = std::move(accepted->socket);
  }
};

inline DirectionKeys made_of(unsigned char byte) {
  DirectionKeys keys;
  keys.key.fill(byte);
  keys.iv.fill(static_cast<unsigned char>(byte + 1));
  keys.secret.fill(static_cast<unsigned char>(byte + 2));
  return keys;
}

/// Not HKDF: both ends only have to agree.
inline bool next_generation(Cipher /*cipher*/, DirectionKeys& keys) {
  for (unsigned char& byte : keys.key) byte = static_cast<unsigned char>(byte + 7);
  keys.sequence = 0;
  return true;
}

inline TrafficKeys keys_of(Version version, Cipher cipher, bool first) {
  TrafficKeys keys;
  keys.version = version;
  keys.cipher = cipher;
  keys.send = made_of(first ? 1 : 101);
  keys.receive = made_of(first ? 101 : 1);
  keys.advance = next_generation;
  return keys;
}

}  // namespace tlsplice::ktls
