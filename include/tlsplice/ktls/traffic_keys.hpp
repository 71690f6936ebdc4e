// The key material of one TLS connection as the kernel wants it: a value that wipes itself. Whoever
// negotiated the connection fills it in (tls room); nobody logs it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace tlsplice::ktls {

enum class Version : std::uint8_t { kTls12, kTls13 };
enum class Cipher : std::uint8_t { kAes128Gcm, kAes256Gcm, kChacha20Poly1305 };

/// "AES-128-GCM"
const char* to_string(Cipher cipher);
std::size_t key_bytes(Cipher cipher);  // 16 or 32

/// Zeroes memory in a way that the compiler does not drop.
void wipe(void* memory, std::size_t bytes);

/// One direction.
struct DirectionKeys {
  static constexpr std::size_t kIvBytes = 12;
  std::array<unsigned char, 32> key{};  // key_bytes() of it
  /// TLS 1.3: the whole IV (RFC 8446 section 7.3). TLS 1.2 AES-GCM: the first 4 are the implicit part (RFC
  /// 5288 section 3).
  std::array<unsigned char, kIvBytes> iv{};
  std::uint64_t sequence = 0;              // of the next record
  std::array<unsigned char, 48> secret{};  // TLS 1.3 traffic secret, for the next one (RFC 8446 section 7.2)

  DirectionKeys() = default;
  DirectionKeys(const DirectionKeys&) = default;
  DirectionKeys& operator=(const DirectionKeys&) = default;
  ~DirectionKeys() { wipe(this, sizeof *this); }
};

struct TrafficKeys {
  Version version = Version::kTls13;
  Cipher cipher = Cipher::kAes128Gcm;
  DirectionKeys send;
  DirectionKeys receive;
  /// Derives the next generation of one direction (TLS 1.3 KeyUpdate); null when it cannot be done. Sequence
  /// becomes 0.
  bool (*advance)(Cipher cipher, DirectionKeys& direction) = nullptr;
};

}  // namespace tlsplice::ktls
