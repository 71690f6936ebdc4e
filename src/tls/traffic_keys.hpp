// From what OpenSSL lets us see of a handshake to the keys that the kernel wants: the key log (TLS 1.3
// secrets), the master secret (TLS 1.2), and the records counted in both directions since the keys took
// effect.
#pragma once

#include <openssl/ssl.h>

#include <array>
#include <cstdint>
#include <expected>

#include "tlsplice/ktls/traffic_keys.hpp"
#include "tlsplice/tls/stream.hpp"

namespace tlsplice::tls {

/// Filled by OpenSSL's callbacks while a connection is young; wiped with it.
struct KeyCapture {
  std::array<unsigned char, 48> client_secret{};  // CLIENT_TRAFFIC_SECRET_0
  std::array<unsigned char, 48> server_secret{};
  std::uint64_t sent = 0;  // records since the last change of keys
  std::uint64_t received = 0;

  KeyCapture() = default;
  KeyCapture(const KeyCapture&) = delete;
  KeyCapture& operator=(const KeyCapture&) = delete;
  ~KeyCapture() { ktls::wipe(this, sizeof *this); }
};

/// Makes all connections of the context tell their secrets to the KeyCapture they have, if any.
void install_key_log(SSL_CTX* context);

/// Before the handshake begins. The capture must outlive the connection.
void attach_capture(SSL* ssl, KeyCapture* capture);

/// After the handshake; the reason when the kernel cannot take over.
std::expected<ktls::TrafficKeys, StayReason> derive_traffic_keys(SSL* ssl, const KeyCapture& capture);

}  // namespace tlsplice::tls
