#include "traffic_keys.hpp"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include <cstring>
#include <optional>
#include <string_view>

#include "errors.hpp"

namespace tlsplice::tls {
namespace {

using ktls::Cipher;
using ktls::DirectionKeys;
using ktls::TrafficKeys;
using ktls::Version;

constexpr unsigned char kFinished = 20;  // RFC 8446 appendix B.3

/// Counts records by their headers. A Finished message is the last thing under the old keys in TLS 1.3, and
/// the first record under the new ones in TLS 1.2; its own header has been seen before it.
void on_message(int sent, int version, int type, const void* bytes, std::size_t size, SSL* /*ssl*/,
                void* argument) {
  auto* capture = static_cast<KeyCapture*>(argument);
  std::uint64_t& count = sent != 0 ? capture->sent : capture->received;
  if (type == SSL3_RT_HEADER) {
    ++count;
  } else if (type == SSL3_RT_HANDSHAKE && size > 0 &&
             *static_cast<const unsigned char*>(bytes) == kFinished) {
    count = version == TLS1_3_VERSION ? 0 : 1;
  }
}

std::optional<Cipher> cipher_of(const SSL* ssl) {
  switch (SSL_CIPHER_get_cipher_nid(SSL_get_current_cipher(ssl))) {
    case NID_aes_128_gcm:
      return Cipher::kAes128Gcm;
    case NID_aes_256_gcm:
      return Cipher::kAes256Gcm;
    case NID_chacha20_poly1305:
      return Cipher::kChacha20Poly1305;
    default:
      return std::nullopt;
  }
}

/// TLS 1.3 hashes with SHA-384 for AES-256-GCM and with SHA-256 for the others (RFC 8446 appendix B.4).
std::size_t secret_bytes(Cipher cipher) {
  return cipher == Cipher::kAes256Gcm ? 48 : 32;
}

bool derive(EVP_KDF* kdf, OSSL_PARAM* parameters, std::span<unsigned char> into) {
  EVP_KDF_CTX* context = EVP_KDF_CTX_new(kdf);
  const bool derived =
      context != nullptr && EVP_KDF_derive(context, into.data(), into.size(), parameters) == 1;
  EVP_KDF_CTX_free(context);
  take_error();
  return derived;
}

OSSL_PARAM octets(const char* name, const void* bytes, std::size_t size) {
  return OSSL_PARAM_construct_octet_string(name, const_cast<void*>(bytes), size);
}
OSSL_PARAM text(const char* name, const char* value) {
  return OSSL_PARAM_construct_utf8_string(name, const_cast<char*>(value), 0);
}

/// RFC 8446 section 7.2.
bool advance(Cipher cipher, DirectionKeys& keys) {
  std::array<unsigned char, 48> next{};
  const auto secret = std::span(next).first(secret_bytes(cipher));
  const bool derived = expand_label(std::span(keys.secret).first(secret.size()), "traffic upd", secret) &&
                       expand_label(secret, "key", std::span(keys.key).first(ktls::key_bytes(cipher))) &&
                       expand_label(secret, "iv", keys.iv);
  keys.secret = next;
  keys.sequence = 0;
  ktls::wipe(next.data(), next.size());
  return derived;
}

/// RFC 5246 section 6.3: client key, server key, client IV, server IV; an AEAD has no MAC keys.
bool fill_from_master_secret(SSL* ssl, Cipher cipher, DirectionKeys& client, DirectionKeys& server) {
  static EVP_KDF* const prf = EVP_KDF_fetch(nullptr, "TLS1-PRF", nullptr);
  constexpr std::string_view kLabel = "key expansion";
  std::array<unsigned char, kLabel.size() + 2 * SSL3_RANDOM_SIZE> seed{};
  std::memcpy(seed.data(), kLabel.data(), kLabel.size());
  SSL_get_server_random(ssl, seed.data() + kLabel.size(), SSL3_RANDOM_SIZE);
  SSL_get_client_random(ssl, seed.data() + kLabel.size() + SSL3_RANDOM_SIZE, SSL3_RANDOM_SIZE);
  std::array<unsigned char, SSL_MAX_MASTER_KEY_LENGTH> master{};
  const std::size_t master_bytes =
      SSL_SESSION_get_master_key(SSL_get_session(ssl), master.data(), master.size());

  const std::size_t key = ktls::key_bytes(cipher);
  const std::size_t iv = cipher == Cipher::kChacha20Poly1305 ? 12 : 4;
  std::array<unsigned char, 2 * 32 + 2 * 12> block{};
  const char* digest =
      cipher == Cipher::kAes256Gcm ? "SHA384" : "SHA256";  // the PRF of these suites, RFC 5289
  OSSL_PARAM parameters[] = {
      text(OSSL_KDF_PARAM_DIGEST, digest), octets(OSSL_KDF_PARAM_SECRET, master.data(), master_bytes),
      octets(OSSL_KDF_PARAM_SEED, seed.data(), seed.size()), OSSL_PARAM_construct_end()};
  const bool derived = derive(prf, parameters, std::span(block).first(2 * key + 2 * iv));
  std::memcpy(client.key.data(), block.data(), key);
  std::memcpy(server.key.data(), block.data() + key, key);
  std::memcpy(client.iv.data(), block.data() + 2 * key, iv);
  std::memcpy(server.iv.data(), block.data() + 2 * key + iv, iv);
  ktls::wipe(master.data(), master.size());
  ktls::wipe(block.data(), block.size());
  return derived;
}

}  // namespace

void attach_capture(SSL* ssl, KeyCapture* capture) {
  SSL_set_msg_callback(ssl, on_message);
  SSL_set_msg_callback_arg(ssl, capture);
}

std::expected<TrafficKeys, StayReason> derive_traffic_keys(SSL* ssl, const KeyCapture& capture) {
  const int version = SSL_version(ssl);
  if (version != TLS1_2_VERSION && version != TLS1_3_VERSION) return std::unexpected(StayReason::kProtocol);
  const auto cipher = cipher_of(ssl);
  if (!cipher) return std::unexpected(StayReason::kCipher);
  // The kernel cuts records at 16 KiB; a peer that asked for smaller ones could not read them (trap 2).
  if (SSL_SESSION_get_max_fragment_length(SSL_get_session(ssl)) != 0)
    return std::unexpected(StayReason::kRecordSize);
  if (SSL_has_pending(ssl) != 0) return std::unexpected(StayReason::kPendingData);

  TrafficKeys keys;
  keys.version = version == TLS1_3_VERSION ? Version::kTls13 : Version::kTls12;
  keys.cipher = *cipher;
  const bool server = SSL_is_server(ssl) != 0;
  DirectionKeys& from_client = server ? keys.receive : keys.send;
  DirectionKeys& from_server = server ? keys.send : keys.receive;
  bool derived = false;
  if (keys.version == Version::kTls13) {
    from_client = capture.keys.client;
    from_server = capture.keys.server;
    keys.advance = advance;
    derived = capture.keys.pieces == DerivedKeys::kPieces;
  } else {
    derived = fill_from_master_secret(ssl, *cipher, from_client, from_server);
  }
  keys.send.sequence = capture.sent;
  keys.receive.sequence = capture.received;
  if (!derived) return std::unexpected(StayReason::kLibrary);
  return keys;
}

}  // namespace tlsplice::tls
