#include "tlsplice/ktls/kernel.hpp"

#include <fmt/format.h>
#include <linux/tls.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "tlsplice/net/socket.hpp"

namespace tlsplice::ktls {
namespace {

constexpr int kPatienceMs = 1000;  // for what happens at once on loopback, on a machine that is busy

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

/// A connected TCP pair on loopback.
base::Result<std::pair<base::Fd, base::Fd>> loopback_pair() {
  auto listener = net::listen(net::Address::parse("127.0.0.1", 0).value());
  if (!listener) return base::fail(listener.error());
  const net::Address address = net::local_address(listener->get());
  base::Fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!client || ::connect(client.get(), address.data(), address.size()) != 0) {
    return base::fail(base::Error::system("connect on loopback", errno));
  }
  // connect() may return before our end is in the queue: the last packet of the handshake can be on its way.
  pollfd queue{.fd = listener->get(), .events = POLLIN, .revents = 0};
  (void)::poll(&queue, 1, kPatienceMs);
  auto accepted = net::accept(listener->get());
  if (!accepted) return base::fail(base::Error::system("accept on loopback", accepted.error()));
  return std::pair(std::move(client), std::move(accepted->socket));
}

bool takes(Version version, Cipher cipher, bool* rekey) {
  auto pair = loopback_pair();
  if (!pair) return false;
  const int socket = pair->first.get();
  const DirectionKeys keys;
  if (attach(socket) != 0 || install(socket, Way::kReceive, version, cipher, keys) != 0 ||
      install(socket, Way::kSend, version, cipher, keys) != 0) {
    return false;
  }
  if (rekey != nullptr) *rekey = install(socket, Way::kReceive, version, cipher, keys) == 0;
  return true;
}

bool wakes_for_half_a_record() {
  auto pair = loopback_pair();
  if (!pair || attach(pair->first.get()) != 0 ||
      install(pair->first.get(), Way::kReceive, Version::kTls12, Cipher::kAes128Gcm, {}) != 0) {
    return false;
  }
  constexpr char kHeader[] = {23, 3, 3, 1, 0};  // 256 bytes that never come
  if (::send(pair->second.get(), kHeader, sizeof kHeader, MSG_NOSIGNAL) < 0) return false;
  pollfd state{.fd = pair->first.get(), .events = POLLIN, .revents = 0};
  return ::poll(&state, 1, 20) == 1 && (state.revents & POLLIN) != 0;
}

std::string explain(int error) {
  if (error == ENOENT) {
    return "this kernel has no TLS, or its module is not loaded; as root: modprobe tls";
  }
  return base::Error::system("attach the tls ULP", error).text();
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

void expect_no_padding(int socket) {
  const int on = 1;
  (void)::setsockopt(socket, SOL_TLS, TLS_RX_EXPECT_NO_PAD, &on, sizeof on);
}

Support probe() {
  Support support;
  auto pair = loopback_pair();
  if (!pair) {
    support.why_not = pair.error().text();
    return support;
  }
  if (const int error = attach(pair->first.get()); error != 0) {
    support.why_not = explain(error);
    return support;
  }
  support.ulp = true;
  support.wakes_early = wakes_for_half_a_record();
  for (const Version version : {Version::kTls12, Version::kTls13}) {
    for (const Cipher cipher : {Cipher::kAes128Gcm, Cipher::kAes256Gcm, Cipher::kChacha20Poly1305}) {
      bool* rekey = version == Version::kTls13 ? &support.rekey : nullptr;
      support.ciphers[static_cast<int>(version)][static_cast<int>(cipher)] = takes(version, cipher, rekey);
    }
  }
  return support;
}

}  // namespace tlsplice::ktls
