#include "tlsplice/ktls/traffic_keys.hpp"

#include <string.h>  // NOLINT(modernize-deprecated-headers): explicit_bzero is glibc's, not the standard's

namespace tlsplice::ktls {

const char* to_string(Cipher cipher) {
  switch (cipher) {
    case Cipher::kAes128Gcm:
      return "AES-128-GCM";
    case Cipher::kAes256Gcm:
      return "AES-256-GCM";
    case Cipher::kChacha20Poly1305:
      return "CHACHA20-POLY1305";
  }
  return "unknown";
}

std::size_t key_bytes(Cipher cipher) {
  return cipher == Cipher::kAes128Gcm ? 16 : 32;
}

void wipe(void* memory, std::size_t bytes) {
  ::explicit_bzero(memory, bytes);
}

}  // namespace tlsplice::ktls
