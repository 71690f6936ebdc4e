// Promised: a context that another library has made for a client, with settings of its own, says after
// configure() what ours says: their ClientHellos are the same but for what is random.
#include "tlsplice/tls/foreign.hpp"

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <memory>

namespace tlsplice::tls {
namespace {

struct Free {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(SSL* connection) const { SSL_free(connection); }
};

constexpr std::size_t kRandom = 11;  // after the record's header, the handshake's and the version
constexpr std::size_t kRandomSize = 32;

/// What a connection of that context begins with. The policy of clients has no TLS 1.3, and so no key shares.
std::string hello_of(SSL_CTX* context) {
  const std::unique_ptr<SSL, Free> connection(SSL_new(context));
  BIO* const sent = BIO_new(BIO_s_mem());
  SSL_set_bio(connection.get(), BIO_new(BIO_s_mem()), sent);
  EXPECT_EQ(SSL_connect(connection.get()), -1);
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(sent, &bytes);
  std::string hello(bytes, static_cast<std::size_t>(size));
  EXPECT_GT(hello.size(), kRandom + kRandomSize);
  return hello.replace(kRandom, kRandomSize, kRandomSize, '\0');
}

TEST(Foreign, SaysWhatOursSays) {
  const Context ours = Context::client().value();
  const std::unique_ptr<SSL_CTX, Free> theirs(SSL_CTX_new(TLS_client_method()));
  SSL_CTX_set_min_proto_version(theirs.get(), TLS1_3_VERSION);
  SSL_CTX_set_options(theirs.get(), SSL_OP_NO_TLSv1_2 | SSL_OP_NO_ENCRYPT_THEN_MAC);
  SSL_CTX_set_session_cache_mode(theirs.get(), SSL_SESS_CACHE_CLIENT);
  SSL_CTX_set_verify(theirs.get(), SSL_VERIFY_PEER, nullptr);
  EXPECT_NE(hello_of(theirs.get()), hello_of(ours.get()));

  configure(theirs.get(), ours);
  EXPECT_EQ(hello_of(theirs.get()), hello_of(ours.get()));
  EXPECT_EQ(SSL_CTX_get_verify_mode(theirs.get()), SSL_VERIFY_NONE);
  EXPECT_EQ(SSL_CTX_get_options(theirs.get()), SSL_CTX_get_options(ours.get()));
  EXPECT_EQ(SSL_CTX_get_session_cache_mode(theirs.get()), SSL_SESS_CACHE_OFF);
  EXPECT_EQ(SSL_CTX_get_security_level(theirs.get()), SSL_CTX_get_security_level(ours.get()));
}

}  // namespace
}  // namespace tlsplice::tls
