// TLS 1.3's key schedule (RFC 8446 section 7.1) as a provider of OpenSSL with one algorithm, TLS13-KDF
// (provider-kdf(7), EVP_KDF-TLS13_KDF(7)). The keys that the kernel wants are seen where they are made; the
// only other way to learn them is to let OpenSSL print every secret in hex (SSL_CTX_set_keylog_callback(3)).
// And HMAC is set up once for a thread, not anew for each of the twenty derivations of a handshake: together
// a fifth of what a handshake costs.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "tlsplice/ktls/traffic_keys.hpp"

namespace tlsplice::tls {

/// Of both directions, as the handshake derived them.
struct DerivedKeys {
  ktls::DirectionKeys client;
  ktls::DirectionKeys server;
  int pieces = 0;  // of kPieces: secret, key and IV of each
  static constexpr int kPieces = 6;
};

/// Makes the provider known to OpenSSL; the others stay as they were. What asks for it says kKeyScheduleQuery
/// (property(7)): contexts do, nothing else.
void use_key_schedule();
inline constexpr const char* kKeyScheduleQuery = "?provider=tlsplice";

/// While it lives, the application keys that are derived on this thread go into `keys` as well (null: they do
/// not). Secrets that HMAC holds are forgotten with it.
class KeyWatch {
 public:
  explicit KeyWatch(DerivedKeys* keys);
  KeyWatch(const KeyWatch&) = delete;
  KeyWatch& operator=(const KeyWatch&) = delete;
  ~KeyWatch();

  /// While it lives, keys that are derived belong to somebody else: they go nowhere.
  class Pause {
   public:
    Pause();
    Pause(const Pause&) = delete;
    Pause& operator=(const Pause&) = delete;
    ~Pause();

   private:
    DerivedKeys* keys_;
    ktls::DirectionKeys* current_;
  };
};

/// HKDF-Expand-Label with an empty context (RFC 8446 section 7.1), with the hash whose size the secret has:
/// SHA-256 or SHA-384.
bool expand_label(std::span<const unsigned char> secret, std::string_view label,
                  std::span<unsigned char> into);

}  // namespace tlsplice::tls
