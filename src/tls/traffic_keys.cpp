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

KeyCapture* capture_of(const SSL* ssl) {
  return static_cast<KeyCapture*>(SSL_get_app_data(ssl));
}

int hex_digit(char c) {
  return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

void read_hex(std::string_view hex, std::array<unsigned char, 48>& into) {
  for (std::size_t i = 0; i < into.size() && 2 * i + 1 < hex.size(); ++i) {
    into[i] = static_cast<unsigned char>(hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]));
  }
}

/// "<label> <client random> <secret>", see SSL_CTX_set_keylog_callback(3).
void on_key_log(const SSL* ssl, const char* text) {
  KeyCapture* capture = capture_of(ssl);
  if (capture == nullptr) return;
  const std::string_view line(text);
  const std::string_view secret = line.substr(line.rfind(' ') + 1);
  if (line.starts_with("CLIENT_TRAFFIC_SECRET_0 ")) read_hex(secret, capture->client_secret);
  if (line.starts_with("SERVER_TRAFFIC_SECRET_0 ")) read_hex(secret, capture->server_secret);
}

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
const char* digest_of(Cipher cipher) {
  return cipher == Cipher::kAes256Gcm ? "SHA384" : "SHA256";
}
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

/// HKDF-Expand-Label with an empty context (RFC 8446 section 7.1).
bool expand_label(Cipher cipher, const std::array<unsigned char, 48>& secret, std::string_view label,
                  std::span<unsigned char> into) {
  static EVP_KDF* const hkdf = EVP_KDF_fetch(nullptr, "HKDF", nullptr);
  constexpr std::string_view kPrefix = "tls13 ";
  std::array<unsigned char, 32> info{};
  std::size_t size = 0;
  info[size++] = 0;
  info[size++] = static_cast<unsigned char>(into.size());
  info[size++] = static_cast<unsigned char>(kPrefix.size() + label.size());
  std::memcpy(&info[size], kPrefix.data(), kPrefix.size());
  std::memcpy(&info[size + kPrefix.size()], label.data(), label.size());
  size += kPrefix.size() + label.size();
  info[size++] = 0;
  int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
  OSSL_PARAM parameters[] = {OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
                             text(OSSL_KDF_PARAM_DIGEST, digest_of(cipher)),
                             octets(OSSL_KDF_PARAM_KEY, secret.data(), secret_bytes(cipher)),
                             octets(OSSL_KDF_PARAM_INFO, info.data(), size), OSSL_PARAM_construct_end()};
  return derive(hkdf, parameters, into);
}

bool fill_from_secret(Cipher cipher, DirectionKeys& keys) {
  return expand_label(cipher, keys.secret, "key", std::span(keys.key).first(ktls::key_bytes(cipher))) &&
         expand_label(cipher, keys.secret, "iv", keys.iv);
}

/// RFC 8446 section 7.2.
bool advance(Cipher cipher, DirectionKeys& keys) {
  std::array<unsigned char, 48> next{};
  const bool derived =
      expand_label(cipher, keys.secret, "traffic upd", std::span(next).first(secret_bytes(cipher)));
  keys.secret = next;
  ktls::wipe(next.data(), next.size());
  keys.sequence = 0;
  return derived && fill_from_secret(cipher, keys);
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

void install_key_log(SSL_CTX* context) {
  SSL_CTX_set_keylog_callback(context, on_key_log);
}

void attach_capture(SSL* ssl, KeyCapture* capture) {
  SSL_set_app_data(ssl, capture);
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
  keys.send.sequence = capture.sent;
  keys.receive.sequence = capture.received;
  bool derived = false;
  if (keys.version == Version::kTls13) {
    from_client.secret = capture.client_secret;
    from_server.secret = capture.server_secret;
    keys.advance = advance;
    derived = fill_from_secret(*cipher, from_client) && fill_from_secret(*cipher, from_server);
  } else {
    derived = fill_from_master_secret(ssl, *cipher, from_client, from_server);
  }
  if (!derived) return std::unexpected(StayReason::kLibrary);
  return keys;
}

}  // namespace tlsplice::tls
