#include "key_schedule.hpp"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/provider.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "tlsplice/base/expect.hpp"

namespace tlsplice::tls {
namespace {

using Bytes = std::span<const unsigned char>;

constexpr std::size_t kHashBytesMax = 48;
constexpr std::array<unsigned char, kHashBytesMax> kZeros{};

/// HMAC with one hash, whose set-up outlives its keys.
class Hmac {
 public:
  explicit Hmac(const char* digest) {
    EVP_MAC* mac = EVP_MAC_fetch(nullptr, "HMAC", nullptr);
    context_ = EVP_MAC_CTX_new(mac);
    EVP_MAC_free(mac);
    const OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, const_cast<char*>(digest), 0),
        OSSL_PARAM_construct_end()};
    const bool made = context_ != nullptr && EVP_MAC_CTX_set_params(context_, parameters) == 1 &&
                      EVP_Q_digest(nullptr, digest, nullptr, nullptr, 0, of_nothing_.data(), &size_) == 1;
    TLSPLICE_EXPECT(made, "OpenSSL lacks HMAC with the hashes of TLS 1.3");
  }
  Hmac(const Hmac&) = delete;
  Hmac& operator=(const Hmac&) = delete;
  ~Hmac() { EVP_MAC_CTX_free(context_); }

  std::size_t size() const { return size_; }
  /// Hash(""), as Derive-Secret has it for no messages.
  Bytes of_nothing() const { return Bytes(of_nothing_).first(size_); }

  /// The key is as long as the hash, as every salt and secret of TLS 1.3 is.
  bool operator()(Bytes key, Bytes message, unsigned char* into) {
    std::size_t written = 0;
    return key.size() == size_ && set_key(key) &&
           EVP_MAC_update(context_, message.data(), message.size()) == 1 &&
           EVP_MAC_final(context_, into, &written, size_) == 1;
  }

  void forget_key() {
    if (keyed_) EVP_MAC_init(context_, kZeros.data(), size_, nullptr);
    keyed_ = false;
    ktls::wipe(key_.data(), key_.size());
  }

 private:
  /// A secret has several things derived from it, one after the other: without a key OpenSSL begins anew with
  /// the last.
  bool set_key(Bytes key) {
    if (keyed_ && std::ranges::equal(key, Bytes(key_).first(size_))) {
      return EVP_MAC_init(context_, nullptr, 0, nullptr) == 1;
    }
    std::ranges::copy(key, key_.begin());
    keyed_ = EVP_MAC_init(context_, key.data(), key.size(), nullptr) == 1;
    return keyed_;
  }

  EVP_MAC_CTX* context_ = nullptr;
  std::size_t size_ = 0;
  std::array<unsigned char, kHashBytesMax> of_nothing_{};
  std::array<unsigned char, kHashBytesMax> key_{};  // the last one, when keyed_
  bool keyed_ = false;
};

/// What a thread derives with.
struct Schedule {
  Hmac sha256{"SHA2-256"};
  Hmac sha384{"SHA2-384"};
  bool watched = false;
  DerivedKeys* keys = nullptr;             // where application keys go
  ktls::DirectionKeys* current = nullptr;  // whose key and IV are derived next

  Hmac* hmac(std::size_t hash_bytes) {
    return hash_bytes == sha256.size() ? &sha256 : hash_bytes == sha384.size() ? &sha384 : nullptr;
  }
  void forget_keys() {
    sha256.forget_key();
    sha384.forget_key();
  }
};

Schedule& schedule() {
  thread_local Schedule of_this_thread;
  return of_this_thread;
}

/// HKDF-Expand-Label for no more than one block of HKDF-Expand, which TLS 1.3 never needs (RFC 5869 section
/// 2.3).
bool expand(Hmac& hmac, Bytes secret, std::string_view prefix, std::string_view label, Bytes context,
            std::span<unsigned char> into) {
  std::array<unsigned char, 2 + 1 + 32 + 1 + kHashBytesMax + 1> message;
  if (prefix.size() + label.size() > 32 || context.size() > kHashBytesMax || into.size() > hmac.size()) {
    return false;
  }
  unsigned char* end = message.data();
  *end++ = 0;
  *end++ = static_cast<unsigned char>(into.size());
  *end++ = static_cast<unsigned char>(prefix.size() + label.size());
  end = std::ranges::copy(prefix, end).out;
  end = std::ranges::copy(label, end).out;
  *end++ = static_cast<unsigned char>(context.size());
  end = std::ranges::copy(context, end).out;
  *end++ = 1;  // the number of the block
  std::array<unsigned char, kHashBytesMax> block;
  const bool made = hmac(secret, {message.data(), end}, block.data());
  std::ranges::copy_n(block.begin(), static_cast<std::ptrdiff_t>(into.size()), into.begin());
  ktls::wipe(block.data(), block.size());
  return made;
}

// ---- The algorithm, as OpenSSL calls it

/// Its parameters; no other ones matter (EVP_KDF-TLS13_KDF(7)).
struct Request {
  int mode = 0;
  Bytes key;
  Bytes salt;
  std::string_view prefix;
  std::string_view label;
  Bytes data;

  explicit Request(const OSSL_PARAM* parameters) {
    for (const OSSL_PARAM* p = parameters; p->key != nullptr; ++p) {
      const std::string_view name(p->key);
      const Bytes bytes(static_cast<const unsigned char*>(p->data), p->data_size);
      const std::string_view text(static_cast<const char*>(p->data), p->data_size);
      if (name == OSSL_KDF_PARAM_MODE) OSSL_PARAM_get_int(p, &mode);
      if (name == OSSL_KDF_PARAM_KEY) key = bytes;
      if (name == OSSL_KDF_PARAM_SALT) salt = bytes;
      if (name == OSSL_KDF_PARAM_PREFIX) prefix = text;
      if (name == OSSL_KDF_PARAM_LABEL) label = text;
      if (name == OSSL_KDF_PARAM_DATA) data = bytes;
    }
  }
};

/// One step down the middle of the schedule: HKDF-Extract, salted with what the secret before it derives.
bool extract(Hmac& hmac, const Request& asked, std::span<unsigned char> into) {
  const Bytes zeros = Bytes(kZeros).first(hmac.size());
  const Bytes input = asked.key.data() != nullptr ? asked.key : zeros;
  if (asked.salt.data() == nullptr) return hmac(zeros, input, into.data());
  std::array<unsigned char, kHashBytesMax> derived;
  const auto salt = std::span(derived).first(hmac.size());
  const bool made = expand(hmac, asked.salt, asked.prefix, asked.label, hmac.of_nothing(), salt) &&
                    hmac(salt, input, into.data());
  ktls::wipe(derived.data(), derived.size());
  return made;
}

/// A key and an IV follow the traffic secret that they are made from.
void note(Schedule& state, std::string_view label, Bytes derived) {
  const auto take = [&](auto& piece) {
    std::ranges::copy(derived.first(std::min(derived.size(), piece.size())), piece.begin());
    ++state.keys->pieces;
  };
  if (label == "key" && state.current != nullptr) return take(state.current->key);
  if (label == "iv" && state.current != nullptr) return take(state.current->iv);
  state.current = label == "c ap traffic"   ? &state.keys->client
                  : label == "s ap traffic" ? &state.keys->server
                                            : nullptr;
  if (state.current != nullptr) take(state.current->secret);
}

int derive(void* /*context*/, unsigned char* key, std::size_t key_bytes, const OSSL_PARAM parameters[]) {
  const Request asked(parameters);
  const std::span into(key, key_bytes);
  Schedule& state = schedule();
  const bool extracts = asked.mode == EVP_KDF_HKDF_MODE_EXTRACT_ONLY;
  Hmac* hmac = state.hmac(extracts ? key_bytes : asked.key.size());
  if (hmac == nullptr || (!extracts && asked.mode != EVP_KDF_HKDF_MODE_EXPAND_ONLY)) return 0;
  const bool made = extracts ? extract(*hmac, asked, into)
                             : expand(*hmac, asked.key, asked.prefix, asked.label, asked.data, into);
  if (made && !extracts && state.keys != nullptr) note(state, asked.label, into);
  if (!state.watched) state.forget_keys();
  return made ? 1 : 0;
}

/// Everything comes with derive(), so there is nothing that a context would have to hold.
void* new_kdf(void* provider) {
  return provider;
}
void free_kdf(void* /*context*/) {}

template <typename Function>
OSSL_DISPATCH entry(int id, Function* function) {
  return {id, reinterpret_cast<void (*)()>(function)};
}

const OSSL_ALGORITHM* algorithms(void* /*provider*/, int operation, int* no_cache) {
  static const OSSL_DISPATCH functions[] = {entry(OSSL_FUNC_KDF_NEWCTX, new_kdf),
                                            entry(OSSL_FUNC_KDF_FREECTX, free_kdf),
                                            entry(OSSL_FUNC_KDF_DERIVE, derive),
                                            {}};
  static const OSSL_ALGORITHM kdfs[] = {{OSSL_KDF_NAME_TLS1_3_KDF, "provider=tlsplice", functions, nullptr},
                                        {}};
  *no_cache = 0;
  return operation == OSSL_OP_KDF ? kdfs : nullptr;
}

int begin(const OSSL_CORE_HANDLE* /*core*/, const OSSL_DISPATCH* /*offered*/, const OSSL_DISPATCH** ours,
          void** provider) {
  static const OSSL_DISPATCH functions[] = {entry(OSSL_FUNC_PROVIDER_QUERY_OPERATION, algorithms), {}};
  static char that_is_all = 0;
  *ours = functions;
  *provider = &that_is_all;
  return 1;
}

}  // namespace

void use_key_schedule() {
  static const bool known = OSSL_PROVIDER_add_builtin(nullptr, "tlsplice", begin) == 1;
  static const OSSL_PROVIDER* const loaded = OSSL_PROVIDER_try_load(nullptr, "tlsplice", 1);
  TLSPLICE_EXPECT(known && loaded != nullptr, "OpenSSL takes no provider");
}

KeyWatch::KeyWatch(DerivedKeys* keys) {
  Schedule& state = schedule();
  state.watched = true;
  state.keys = keys;
  state.current = nullptr;
}

KeyWatch::~KeyWatch() {
  Schedule& state = schedule();
  state.watched = false;
  state.keys = nullptr;
  state.forget_keys();
}

KeyWatch::Pause::Pause()
    : keys_(std::exchange(schedule().keys, nullptr)), current_(std::exchange(schedule().current, nullptr)) {}

KeyWatch::Pause::~Pause() {
  schedule().keys = keys_;
  schedule().current = current_;
}

bool expand_label(Bytes secret, std::string_view label, std::span<unsigned char> into) {
  Schedule& state = schedule();
  Hmac* hmac = state.hmac(secret.size());
  const bool made = hmac != nullptr && expand(*hmac, secret, "tls13 ", label, {}, into);
  if (!state.watched) state.forget_keys();
  return made;
}

}  // namespace tlsplice::tls
