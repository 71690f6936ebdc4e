#include "record_cipher.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "tlsplice/ktls/established.hpp"

namespace tlsplice::tls {
namespace {

constexpr std::size_t kTagBytes = 16;
constexpr std::size_t kExplicitNonceBytes = 8;
constexpr std::size_t kImplicitNonceBytes = 4;
constexpr std::uint8_t kProtocolVersion = 70;  // the alert
constexpr std::uint8_t kFirstType = 20;        // of records: change_cipher_spec
constexpr unsigned char kVersionMajor = 3;
constexpr unsigned char kVersionMinor = 3;  // of TLS 1.2, and of every record of TLS 1.3
// TLS 1.2 (RFC 5246 section 6.2.3.3): sequence number, type, version, length.
constexpr std::size_t kAssociatedBytes12 = 13;

/// Fetched once: an explicit fetch costs more than a short record.
const EVP_CIPHER* evp_cipher(ktls::Cipher cipher) {
  static EVP_CIPHER* const ciphers[] = {EVP_CIPHER_fetch(nullptr, "AES-128-GCM", nullptr),
                                        EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr),
                                        EVP_CIPHER_fetch(nullptr, "ChaCha20-Poly1305", nullptr)};
  return ciphers[static_cast<std::size_t>(cipher)];
}

void put_big_endian(std::uint64_t number, unsigned char* into) {
  for (int i = 7; i >= 0; --i) {
    into[i] = static_cast<unsigned char>(number);
    number >>= 8;
  }
}

void put_length(std::size_t length, unsigned char* into) {
  into[0] = static_cast<unsigned char>(length >> 8);
  into[1] = static_cast<unsigned char>(length);
}

unsigned char* bytes_of(std::byte* bytes) {
  return reinterpret_cast<unsigned char*>(bytes);
}
const unsigned char* bytes_of(const std::byte* bytes) {
  return reinterpret_cast<const unsigned char*>(bytes);
}

std::array<unsigned char, kAssociatedBytes12> associated12(std::uint64_t sequence, std::uint8_t type,
                                                           std::size_t length) {
  std::array<unsigned char, kAssociatedBytes12> made{};
  put_big_endian(sequence, made.data());
  made[8] = type;
  made[9] = kVersionMajor;
  made[10] = kVersionMinor;
  put_length(length, made.data() + 11);
  return made;
}

RecordCipher::Opened refused(std::uint8_t alert) {
  return {.alert = alert, .type = 0, .bytes = 0};
}

}  // namespace

RecordCipher::RecordCipher(EVP_CIPHER_CTX* context, ktls::Version version, ktls::Cipher cipher)
    : context_(context),
      tls13_(version == ktls::Version::kTls13),
      explicit_nonce_(!tls13_ && cipher != ktls::Cipher::kChacha20Poly1305) {}

std::optional<RecordCipher> RecordCipher::create(Use use, ktls::Version version, ktls::Cipher cipher,
                                                 const ktls::DirectionKeys& keys) {
  RecordCipher made(EVP_CIPHER_CTX_new(), version, cipher);
  const int seals = use == Use::kSeal ? 1 : 0;
  const bool ready =
      made.context_ != nullptr &&
      EVP_CipherInit_ex2(made.context_.get(), evp_cipher(cipher), nullptr, nullptr, seals, nullptr) == 1 &&
      made.change_key(keys);
  if (!ready) return std::nullopt;
  return made;
}

bool RecordCipher::change_key(const ktls::DirectionKeys& keys) {
  iv_ = keys.iv;
  sequence_ = keys.sequence;
  return EVP_CipherInit_ex2(context_.get(), nullptr, keys.key.data(), nullptr, -1, nullptr) == 1;
}

/// RFC 8446 section 5.3 and RFC 7905 section 2: the IV with the sequence number xored in. RFC 5288 section 3:
/// four bytes of IV and the explicit part.
RecordCipher::Nonce RecordCipher::nonce(std::uint64_t number) const {
  std::array<unsigned char, kExplicitNonceBytes> low{};
  put_big_endian(number, low.data());
  Nonce made = iv_;
  for (std::size_t i = 0; i < low.size(); ++i) {
    unsigned char& byte = made[kImplicitNonceBytes + i];
    byte = explicit_nonce_ ? low[i] : static_cast<unsigned char>(byte ^ low[i]);
  }
  return made;
}

bool RecordCipher::begin(const Nonce& nonce, std::span<const unsigned char> associated) const {
  int n = 0;
  return EVP_CipherInit_ex2(context_.get(), nullptr, nullptr, nonce.data(), -1, nullptr) == 1 &&
         EVP_CipherUpdate(context_.get(), nullptr, &n, associated.data(),
                          static_cast<int>(associated.size())) == 1;
}

std::size_t RecordCipher::seal(std::uint8_t type, std::span<const std::byte> payload, std::byte* into) {
  const std::size_t explicit_bytes = explicit_nonce_ ? kExplicitNonceBytes : 0;
  const std::size_t sealed = payload.size() + (tls13_ ? 1 : 0);
  unsigned char* const header = bytes_of(into);
  header[0] = tls13_ ? ktls::kDataRecord : type;
  header[1] = kVersionMajor;
  header[2] = kVersionMinor;
  put_length(explicit_bytes + sealed + kTagBytes, header + 3);
  if (explicit_nonce_) put_big_endian(sequence_, header + kRecordHeaderBytes);
  unsigned char* at = header + kRecordHeaderBytes + explicit_bytes;

  const auto of12 = associated12(sequence_, type, payload.size());
  const std::span<const unsigned char> of13(header, kRecordHeaderBytes);
  if (!begin(nonce(sequence_), tls13_ ? of13 : std::span<const unsigned char>(of12))) return 0;
  ++sequence_;
  int n = 0;
  if (!payload.empty() && EVP_EncryptUpdate(context_.get(), at, &n, bytes_of(payload.data()),
                                            static_cast<int>(payload.size())) != 1) {
    return 0;
  }
  at += payload.size();
  if (tls13_) {
    if (EVP_EncryptUpdate(context_.get(), at, &n, &type, 1) != 1) return 0;
    ++at;
  }
  if (EVP_EncryptFinal_ex(context_.get(), at, &n) != 1 ||
      EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_AEAD_GET_TAG, kTagBytes, at) != 1) {
    return 0;
  }
  return static_cast<std::size_t>(at - header) + kTagBytes;
}

RecordCipher::Header RecordCipher::header(std::span<const std::byte> raw) const {
  const unsigned char* const at = bytes_of(raw.data());
  // TLS 1.3: always this type, and the version is ignored (RFC 8446 section 5.2).
  if (!raw.empty() && (tls13_ ? at[0] != ktls::kDataRecord : at[0] < kFirstType || at[0] > ktls::kDataRecord))
    return {.alert = ktls::kUnexpectedMessage, .bytes = 0};
  if (raw.size() < kRecordHeaderBytes) return {.alert = 0, .bytes = kRecordHeaderBytes};
  if (!tls13_ && (at[1] != kVersionMajor || at[2] != kVersionMinor))
    return {.alert = kProtocolVersion, .bytes = 0};
  const std::size_t bytes = kRecordHeaderBytes + std::size_t{at[3]} * 256 + at[4];
  return {.alert = bytes <= kRecordBytesMax ? std::uint8_t{0} : ktls::kRecordOverflow, .bytes = bytes};
}

RecordCipher::Opened RecordCipher::open(std::span<const std::byte> record, std::byte* into) {
  const unsigned char* const header = bytes_of(record.data());
  const std::size_t explicit_bytes = explicit_nonce_ ? kExplicitNonceBytes : 0;
  if (record.size() < kRecordHeaderBytes + explicit_bytes + kTagBytes + (tls13_ ? 1 : 0))
    return refused(ktls::kBadRecordMac);
  const unsigned char* const at = header + kRecordHeaderBytes + explicit_bytes;
  const std::size_t size = record.size() - kRecordHeaderBytes - explicit_bytes - kTagBytes;
  std::array<unsigned char, kTagBytes> tag{};
  std::memcpy(tag.data(), at + size, tag.size());

  Nonce used = nonce(sequence_);
  if (explicit_nonce_)
    std::memcpy(used.data() + kImplicitNonceBytes, header + kRecordHeaderBytes, kExplicitNonceBytes);
  const auto of12 = associated12(sequence_, header[0], size);
  const std::span<const unsigned char> of13(header, kRecordHeaderBytes);
  ++sequence_;
  int n = 0;
  unsigned char* const plain = bytes_of(into);
  std::array<unsigned char, 1> nothing{};
  const bool good =
      begin(used, tls13_ ? of13 : std::span<const unsigned char>(of12)) &&
      (size == 0 || EVP_DecryptUpdate(context_.get(), plain, &n, at, static_cast<int>(size)) == 1) &&
      EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_AEAD_SET_TAG, kTagBytes, tag.data()) == 1 &&
      EVP_DecryptFinal_ex(context_.get(), nothing.data(), &n) == 1;
  if (!good) return refused(ktls::kBadRecordMac);
  if (!tls13_) {
    const bool fits = size <= kPayloadBytesMax;
    return {.alert = fits ? std::uint8_t{0} : ktls::kRecordOverflow, .type = header[0], .bytes = size};
  }
  // RFC 8446 section 5.4: the type is the last byte that is not padding.
  std::size_t end = size;
  while (end > 0 && plain[end - 1] == 0) --end;
  if (end == 0) return refused(ktls::kUnexpectedMessage);
  const bool fits = size <= kPayloadBytesMax + 1;
  return {.alert = fits ? std::uint8_t{0} : ktls::kRecordOverflow, .type = plain[end - 1], .bytes = end - 1};
}

}  // namespace tlsplice::tls
