#include "tlsplice/tls/context.hpp"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>

#include "alpn.hpp"
#include "errors.hpp"
#include "key_schedule.hpp"
#include "offer.hpp"
#include "tlsplice/base/expect.hpp"
#include "tlsplice/base/memory.hpp"
#include "watch.hpp"

namespace tlsplice::tls {
namespace {

using policy::CertificateKeys;
using policy::Listener;
using policy::Mistake;

constexpr int kDocumentRsaBits = 2048;  // spec: tls-listener, "Important"

/// Collects what is wrong with one listener's certificate.
class Mistakes {
 public:
  explicit Mistakes(const Listener& listener) : listener_(listener) {}
  void add(std::string_view key, std::string what) {
    found_.push_back({listener_.certificate.place, fmt::format("listener.{}", key), std::move(what)});
  }
  bool empty() const { return found_.empty(); }
  std::vector<Mistake> take() { return std::move(found_); }

 private:
  const Listener& listener_;
  std::vector<Mistake> found_;
};

/// Opened by hand first: OpenSSL's own message for a missing file names neither the file nor the reason well.
bool readable(const std::filesystem::path& file, std::string_view key, Mistakes& mistakes) {
  errno = 0;
  if (std::ifstream(file).good()) return true;
  mistakes.add(
      key, fmt::format("cannot open {}: {}", file.string(), base::Error::system("", errno).text().substr(2)));
  return false;
}

/// Never asks on a terminal: an encrypted key is refused instead.
int no_passphrase(char* /*into*/, int /*size*/, int /*writing*/, void* /*data*/) {
  return 0;
}

void load_chain(SSL_CTX* context, const Listener& listener, Mistakes& mistakes) {
  const auto& file = listener.certificate.chain;
  if (!readable(file, "certificate.chain", mistakes)) return;
  if (SSL_CTX_use_certificate_chain_file(context, file.c_str()) == 1) return;
  mistakes.add("certificate.chain",
               fmt::format("{} holds no usable PEM certificate ({}); it must hold the server's "
                           "certificate, then its intermediates",
                           file.string(), take_error()));
}

void load_key(SSL_CTX* context, const Listener& listener, Mistakes& mistakes) {
  const auto& file = listener.certificate.key;
  if (!readable(file, "certificate.key", mistakes)) return;
  const bool loaded = SSL_CTX_use_PrivateKey_file(context, file.c_str(), SSL_FILETYPE_PEM) == 1;
  // A key of another kind than the certificate's is kept beside it, as if for another certificate.
  const bool lonely = loaded && mistakes.empty() && SSL_CTX_check_private_key(context) != 1;
  if (loaded && !lonely) return;
  const unsigned long code = ERR_peek_last_error();
  const int reason = ERR_GET_REASON(code);
  const bool other = ERR_GET_LIB(code) == ERR_LIB_X509 &&
                     (reason == X509_R_KEY_VALUES_MISMATCH || reason == X509_R_KEY_TYPE_MISMATCH);
  if (lonely || other) {
    mistakes.add("certificate.key", fmt::format("{} is not the key of the certificate in {}", file.string(),
                                                listener.certificate.chain.string()));
  } else {
    mistakes.add("certificate.key",
                 fmt::format("{} holds no usable private key ({}); it must be PEM, without a "
                             "passphrase",
                             file.string(), take_error()));
  }
  take_error();
}

/// The document's limits on keys, unless they are lifted.
void check_key_kind(EVP_PKEY* key, const Listener& listener, Mistakes& mistakes) {
  const int kind = EVP_PKEY_get_base_id(key);
  constexpr const char* kLift = "set certificate_keys = \"any\" on this listener to allow it";
  if (kind != EVP_PKEY_RSA && kind != EVP_PKEY_EC) {
    mistakes.add("certificate.key",
                 "the key is neither RSA nor EC: the predefined policies have no suite for it");
  } else if (listener.certificate_keys == CertificateKeys::kAny) {
    return;
  } else if (kind == EVP_PKEY_EC) {
    mistakes.add("certificate.key",
                 fmt::format("it is an EC key, which the load balancer does not take; {}", kLift));
  } else if (const int bits = EVP_PKEY_get_bits(key); bits > kDocumentRsaBits) {
    mistakes.add("certificate.key",
                 fmt::format("it is an RSA key of {} bits, the load balancer takes at most {}; {}", bits,
                             kDocumentRsaBits, kLift));
  }
}

void warn_of_validity(X509* certificate, const Listener& listener, Offer& offer) {
  if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0) {
    offer.warnings.push_back(
        fmt::format("the certificate in {} has expired", listener.certificate.chain.string()));
  }
  if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0) {
    offer.warnings.push_back(
        fmt::format("the certificate in {} is not valid yet", listener.certificate.chain.string()));
  }
}

SSL_CTX* new_context(const SSL_METHOD* method) {
  use_key_schedule();
  SSL_CTX* context = SSL_CTX_new_ex(nullptr, kKeyScheduleQuery, method);
  TLSPLICE_EXPECT(context != nullptr, "OpenSSL cannot make a context");
  // No renegotiation, no resumption of any kind, no compression (spec: tls-listener). A FIN without
  // close_notify is told apart by our BIO; OpenSSL must not make it fatal, or the other direction could not
  // go on (on_truncation = "fin").
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION |
                                   SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_max_early_data(context, 0);
  // The chain is what its file has: else OpenSSL looks in an empty store for the issuer, with each handshake.
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
  SSL_CTX_set_default_passwd_cb(context, no_passphrase);
  return context;
}

}  // namespace

void use_memory_reserve() {
  const int set = CRYPTO_set_mem_functions(
      [](std::size_t size, const char*, int) { return base::reserve_malloc(size); },
      [](void* block, std::size_t size, const char*, int) { return base::reserve_realloc(block, size); },
      [](void* block, const char*, int) { std::free(block); });
  TLSPLICE_EXPECT(set == 1, "OpenSSL was used before its allocator was set");
}

std::string library_version() {
  return OpenSSL_version(OPENSSL_VERSION);
}

void Context::Free::operator()(ssl_ctx_st* context) const {
  SSL_CTX_free(context);
}

Context::Context(ssl_ctx_st* context) : context_(context) {}
Context::Context(Context&&) noexcept = default;
Context& Context::operator=(Context&&) noexcept = default;
Context::~Context() = default;

std::expected<Context, std::vector<Mistake>> Context::server(const Listener& listener) {
  Mistakes mistakes(listener);
  const policy::SslPolicy* ssl_policy = policy::find_ssl_policy(listener.ssl_policy);
  TLSPLICE_EXPECT(ssl_policy != nullptr, "the configuration was checked for unknown policies");
  Context made(new_context(TLS_server_method()));
  set_security_level(made.get(), *ssl_policy);  // loading a certificate already judges its key by the level
  load_chain(made.get(), listener, mistakes);
  load_key(made.get(), listener, mistakes);
  if (!mistakes.empty()) return std::unexpected(mistakes.take());

  EVP_PKEY* key = SSL_CTX_get0_privatekey(made.get());
  check_key_kind(key, listener, mistakes);
  auto offer =
      apply(made.get(), *ssl_policy, EVP_PKEY_get_base_id(key) == EVP_PKEY_EC ? KeyKind::kEc : KeyKind::kRsa);
  if (!offer) mistakes.add("ssl_policy", offer.error().text());
  if (!mistakes.empty()) return std::unexpected(mistakes.take());

  made.offer_ = std::move(*offer);
  set_alpn_policy(made.get(), listener.alpn_policy);
  watch_clients(made.get(), listener.alpn_policy != policy::AlpnPolicy::kNone);
  warn_of_validity(SSL_CTX_get0_certificate(made.get()), listener, made.offer_);
  return made;
}

base::Result<Context> Context::client() {
  Context made(new_context(TLS_client_method()));
  SSL_CTX_set_verify(made.get(), SSL_VERIFY_NONE, nullptr);
  const policy::SslPolicy& ssl_policy = *policy::find_ssl_policy(policy::kDefaultSslPolicy);
  set_security_level(made.get(), ssl_policy);
  auto offer = apply(made.get(), ssl_policy, KeyKind::kEither);
  if (!offer) return base::fail(offer.error());
  made.offer_ = std::move(*offer);
  watch_targets(made.get());
  return made;
}

}  // namespace tlsplice::tls
