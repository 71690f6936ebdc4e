// From what we see of a handshake to the keys that the kernel wants: what the key schedule derived (TLS 1.3),
// the master secret (TLS 1.2), and the records counted in both directions since the keys took effect.
#pragma once

#include <openssl/ssl.h>

#include <cstdint>
#include <expected>

#include "key_schedule.hpp"
#include "tlsplice/ktls/traffic_keys.hpp"
#include "tlsplice/tls/stream.hpp"

namespace tlsplice::tls {

/// Filled while a connection is young; wiped with it.
struct KeyCapture {
  DerivedKeys keys;        // of TLS 1.3
  std::uint64_t sent = 0;  // records since the last change of keys
  std::uint64_t received = 0;
};

/// Before the handshake begins. The capture must outlive the connection.
void attach_capture(SSL* ssl, KeyCapture* capture);

/// After the handshake; the reason when the kernel cannot take over.
std::expected<ktls::TrafficKeys, StayReason> derive_traffic_keys(SSL* ssl, const KeyCapture& capture);

}  // namespace tlsplice::tls
