// One direction of a TLS connection's record layer in user space: seals payload into records, opens records
// into payload (RFC 8446 section 5.2; RFC 5246 section 6.2.3.3 with RFC 5288 and RFC 7905). AEAD suites only.
// Calls OpenSSL's ciphers and nothing else of it; counts the records itself.
#pragma once

#include <openssl/evp.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "tlsplice/ktls/traffic_keys.hpp"

namespace tlsplice::tls {

inline constexpr std::size_t kRecordHeaderBytes = 5;
inline constexpr std::size_t kPayloadBytesMax = 16384;  // RFC 8446 section 5.1
/// Header, explicit nonce, type or padding, and tag: more than any record that we make has around its
/// payload.
inline constexpr std::size_t kRecordOverheadMax = 32;
/// Of a record that is received: the length may be this large (RFC 8446 section 5.2, RFC 5246 section 6.2.3).
inline constexpr std::size_t kRecordBytesMax = kRecordHeaderBytes + kPayloadBytesMax + 2048;

enum class Use : std::uint8_t { kSeal, kOpen };

class RecordCipher {
 public:
  /// Null when memory is short.
  static std::optional<RecordCipher> create(Use use, ktls::Version version, ktls::Cipher cipher,
                                            const ktls::DirectionKeys& keys);

  /// From the next record on.
  bool change_key(const ktls::DirectionKeys& keys);
  std::uint64_t sequence() const { return sequence_; }  // of the next record

  /// One record around `payload`, of at most kPayloadBytesMax bytes; `into` has room for kRecordOverheadMax
  /// more. The record's size; 0 when the library fails.
  std::size_t seal(std::uint8_t type, std::span<const std::byte> payload, std::byte* into);

  /// Where payload begins in a record.
  std::size_t payload_offset() const { return kRecordHeaderBytes + (explicit_nonce_ ? 8 : 0); }

  struct Header {
    std::uint8_t alert;  // 0: nothing is wrong with it so far
    std::size_t bytes;   // of the record that begins here; more than `raw` has when it is not whole
  };
  /// What can be said of a record by its first bytes, also before the rest of it has come.
  Header header(std::span<const std::byte> raw) const;

  struct Opened {
    std::uint8_t alert;  // 0: it is good
    std::uint8_t type;
    std::size_t bytes;
  };
  /// A whole record whose header is good. `into` has room for as many bytes as the record; it may be where
  /// the record's payload is.
  Opened open(std::span<const std::byte> record, std::byte* into);

 private:
  struct Free {
    void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
  };
  using Nonce = std::array<unsigned char, ktls::DirectionKeys::kIvBytes>;

  RecordCipher(EVP_CIPHER_CTX* context, ktls::Version version, ktls::Cipher cipher);
  Nonce nonce(std::uint64_t number) const;
  bool begin(const Nonce& nonce, std::span<const unsigned char> associated) const;

  std::unique_ptr<EVP_CIPHER_CTX, Free> context_;
  Nonce iv_{};
  std::uint64_t sequence_ = 0;
  bool tls13_;
  bool explicit_nonce_;  // TLS 1.2 with AES-GCM: eight bytes of it travel with each record
};

}  // namespace tlsplice::tls
