#include "tlsplice/ktls/kernel.hpp"

#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace tlsplice::ktls {
namespace {

void put_sequence(unsigned char (&into)[8], std::uint64_t sequence) {
  for (int i = 7; i >= 0; --i, sequence >>= 8) into[i] = static_cast<unsigned char>(sequence & 0xff);
}

int set(int socket, Way way, const void* info, socklen_t size) {
  const int option = way == Way::kSend ? TLS_TX : TLS_RX;
  return ::setsockopt(socket, SOL_TLS, option, info, size) == 0 ? 0 : errno;
}

/// The structs of the AES-GCM ciphers differ only in the sizes of their arrays.
template <typename Info>
int install_as(int socket, Way way, Version version, std::uint16_t cipher_type, const DirectionKeys& keys) {
  Info info{};
  info.info.version = version == Version::kTls13 ? TLS_1_3_VERSION : TLS_1_2_VERSION;
  info.info.cipher_type = cipher_type;
  static_assert(sizeof info.salt + sizeof info.iv == DirectionKeys::kIvBytes);
  std::memcpy(info.key, keys.key.data(), sizeof info.key);
  put_sequence(info.rec_seq, keys.sequence);
  std::memcpy(info.salt, keys.iv.data(), sizeof info.salt);
  std::memcpy(info.iv, keys.iv.data() + sizeof info.salt, sizeof info.iv);
  // TLS 1.2 AES-GCM sends the rest of the nonce with each record; the kernel counts on from here (trap 15).
  if (version == Version::kTls12) std::memcpy(info.iv, info.rec_seq, 8);
  const int error = set(socket, way, &info, sizeof info);
  wipe(&info, sizeof info);
  return error;
}

/// ChaCha20's salt has no bytes, which C++ has no array for.
int install_chacha(int socket, Way way, Version version, const DirectionKeys& keys) {
  struct {
    tls_crypto_info info;
    unsigned char iv[TLS_CIPHER_CHACHA20_POLY1305_IV_SIZE];
    unsigned char key[TLS_CIPHER_CHACHA20_POLY1305_KEY_SIZE];
    unsigned char rec_seq[TLS_CIPHER_CHACHA20_POLY1305_REC_SEQ_SIZE];
  } info{};
  static_assert(sizeof info == sizeof(tls12_crypto_info_chacha20_poly1305));
  info.info.version = version == Version::kTls13 ? TLS_1_3_VERSION : TLS_1_2_VERSION;
  info.info.cipher_type = TLS_CIPHER_CHACHA20_POLY1305;
  std::memcpy(info.iv, keys.iv.data(), sizeof info.iv);
  std::memcpy(info.key, keys.key.data(), sizeof info.key);
  put_sequence(info.rec_seq, keys.sequence);
  const int error = set(socket, way, &info, sizeof info);
  wipe(&info, sizeof info);
  return error;
}

/// The answer holds the key too.
template <typename Info>
std::optional<std::uint64_t> sequence_as(int socket) {
  Info info{};
  socklen_t size = sizeof info;
  const bool told = ::getsockopt(socket, SOL_TLS, TLS_TX, &info, &size) == 0;
  std::uint64_t sequence = 0;
  for (const unsigned char byte : info.rec_seq) sequence = sequence << 8 | byte;
  wipe(&info, sizeof info);
  return told ? std::optional(sequence) : std::nullopt;
}

}  // namespace

int attach(int socket) {
  return ::setsockopt(socket, IPPROTO_TCP, TCP_ULP, "tls", sizeof "tls") == 0 ? 0 : errno;
}

int install(int socket, Way way, Version version, Cipher cipher, const DirectionKeys& keys) {
  switch (cipher) {
    case Cipher::kAes128Gcm:
      return install_as<tls12_crypto_info_aes_gcm_128>(socket, way, version, TLS_CIPHER_AES_GCM_128, keys);
    case Cipher::kAes256Gcm:
      return install_as<tls12_crypto_info_aes_gcm_256>(socket, way, version, TLS_CIPHER_AES_GCM_256, keys);
    case Cipher::kChacha20Poly1305:
      return install_chacha(socket, way, version, keys);
  }
  return EINVAL;
}

std::optional<std::uint64_t> send_sequence(int socket, Cipher cipher) {
  switch (cipher) {
    case Cipher::kAes128Gcm:
      return sequence_as<tls12_crypto_info_aes_gcm_128>(socket);
    case Cipher::kAes256Gcm:
      return sequence_as<tls12_crypto_info_aes_gcm_256>(socket);
    case Cipher::kChacha20Poly1305:
      return std::nullopt;
  }
  return std::nullopt;
}

bool expect_no_padding(int socket) {
  const int on = 1;
  return ::setsockopt(socket, SOL_TLS, TLS_RX_EXPECT_NO_PAD, &on, sizeof on) == 0;
}

}  // namespace tlsplice::ktls
