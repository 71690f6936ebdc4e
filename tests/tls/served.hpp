// A TlsStream with a plain OpenSSL client at its other end, and TlsStream calls that wait: what the tests of
// the stream begin with.
#pragma once

#include <poll.h>

#include <thread>

#include "client.hpp"
#include "tlsplice/tls/handshake.hpp"

namespace tlsplice::tests {

inline tls::Context server_context(const char* ssl_policy, Key key = Key::kRsa2048,
                                   policy::AlpnPolicy alpn_policy = policy::AlpnPolicy::kNone) {
  policy::Listener listener;
  listener.certificate = Certificates::shared().of(key);
  listener.certificate_keys = policy::CertificateKeys::kAny;
  listener.ssl_policy = ssl_policy;
  listener.alpn_policy = alpn_policy;
  auto made = tls::Context::server(listener);
  TLSPLICE_EXPECT(made.has_value(), "the tests' listener is right");
  return std::move(*made);
}

/// TLS 1.0 to 1.3.
inline constexpr const char* kEveryVersion = "ELBSecurityPolicy-TLS13-1-0-2021-06";

/// Both ends of an established TLS connection.
struct Served {
  std::unique_ptr<tls::TlsStream> stream;
  TlsPeer client;
};

inline Served serve(World& world, const tls::Context& context, TlsPeer client, base::Fd ours) {
  bool connected = false;
  std::jthread peer([&] { connected = client.handshake(); });
  auto stream = world.run(tls::handshake(world.ring(), world.stop(), std::move(ours), context,
                                         tls::TlsStream::Role::kServer, kPatience));
  peer.join();
  TLSPLICE_EXPECT(stream.has_value() && connected, "the tests' handshake succeeds");
  return {std::move(*stream), std::move(client)};
}

inline Served serve(World& world, const tls::Context& context, Terms terms, int buffer_bytes = 0) {
  Connection tcp = connection(buffer_bytes);
  return serve(world, context, TlsPeer::client(std::move(tcp.peer), terms), std::move(tcp.ours));
}

/// Waits as a Stream's status demands; false when there is nothing to wait for.
inline bool wait_for(const net::Stream& stream, net::IoStatus status) {
  if (status != net::IoStatus::kWantRead && status != net::IoStatus::kWantWrite) return false;
  pollfd wanted{.fd = stream.fd(), .events = POLLIN, .revents = 0};
  if (status == net::IoStatus::kWantWrite) wanted.events = POLLOUT;
  return ::poll(&wanted, 1, static_cast<int>(kPatience.count())) == 1;
}

struct Taken {
  std::string bytes;
  net::IoStatus status = net::IoStatus::kDone;  // what ended it; kDone: the limit
};

inline Taken read_all(net::Stream& stream, std::size_t limit = std::string::npos) {
  Taken taken;
  std::string piece(64 * 1024, '\0');
  while (taken.bytes.size() < limit) {
    const std::size_t want = std::min(piece.size(), limit - taken.bytes.size());
    const net::Io io = stream.read(std::as_writable_bytes(std::span(piece).first(want)));
    if (io.status == net::IoStatus::kDone) {
      taken.bytes.append(piece, 0, io.bytes);
    } else if (!wait_for(stream, io.status)) {
      taken.status = io.status;
      break;
    }
  }
  return taken;
}

/// kDone when everything was written. `waits` counts how often the socket was full.
inline net::IoStatus write_all(net::Stream& stream, std::string_view bytes, std::size_t* waits = nullptr) {
  while (!bytes.empty()) {
    const net::Io io = stream.write(std::as_bytes(std::span(bytes)));
    if (io.status == net::IoStatus::kDone) {
      bytes.remove_prefix(io.bytes);
    } else if (!wait_for(stream, io.status)) {
      return io.status;
    } else if (waits != nullptr) {
      ++*waits;
    }
  }
  return net::IoStatus::kDone;
}

inline net::IoStatus end_write(net::Stream& stream) {
  for (;;) {
    const net::Io io = stream.end_write();
    if (!wait_for(stream, io.status)) return io.status;
  }
}

}  // namespace tlsplice::tests
