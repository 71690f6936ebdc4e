// Promised: the keys that a connection gives to the kernel, and those that follow them at a KeyUpdate, are
// the ones that its peer has. Checked against the key log of a plain OpenSSL client and OpenSSL's own key
// schedule, for every hash and key length of TLS 1.3.
#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>

#include <map>
#include <vector>

#include "served.hpp"

namespace tlsplice::tls {
namespace {

using Octets = std::vector<unsigned char>;
using KeyLog = std::map<std::string, Octets>;  // secrets by label

void read_line(const SSL* ssl, const char* text) {
  const std::string line(text);
  Octets& secret = (*static_cast<KeyLog*>(SSL_get_app_data(ssl)))[line.substr(0, line.find(' '))];
  for (std::size_t i = line.rfind(' ') + 1; i + 1 < line.size(); i += 2) {
    secret.push_back(static_cast<unsigned char>(std::stoi(line.substr(i, 2), nullptr, 16)));
  }
}

Octets expand_label(Octets secret, std::string label, std::size_t size,
                    const char* query = "provider=default") {
  EVP_KDF* kdf = EVP_KDF_fetch(nullptr, "TLS13-KDF", query);
  EVP_KDF_CTX* context = EVP_KDF_CTX_new(kdf);
  int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
  std::string digest = secret.size() == 48 ? "SHA384" : "SHA256";
  std::string prefix = "tls13 ";
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest.data(), 0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, secret.data(), secret.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PREFIX, prefix.data(), prefix.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_LABEL, label.data(), label.size()),
      OSSL_PARAM_construct_end()};
  Octets made(size);
  EXPECT_EQ(EVP_KDF_derive(context, made.data(), made.size(), parameters), 1);
  EVP_KDF_CTX_free(context);
  EVP_KDF_free(kdf);
  return made;
}

Octets first(const auto& array, std::size_t size) {
  return Octets(array.begin(), array.begin() + static_cast<std::ptrdiff_t>(size));
}

void expect_keys(const ktls::DirectionKeys& keys, ktls::Cipher cipher, const Octets& secret) {
  EXPECT_EQ(first(keys.secret, secret.size()), secret);
  EXPECT_EQ(first(keys.key, ktls::key_bytes(cipher)), expand_label(secret, "key", ktls::key_bytes(cipher)));
  EXPECT_EQ(first(keys.iv, keys.iv.size()), expand_label(secret, "iv", keys.iv.size()));
  EXPECT_EQ(keys.sequence, 0);
}

class TrafficKeysOf13 : public testing::TestWithParam<const char*> {};

TEST_P(TrafficKeysOf13, AreThoseOfThePeer) {
  Context context = tests::server_context(tests::kEveryVersion);
  tests::Connection tcp = tests::connection(0);
  auto client = tests::TlsPeer::client(std::move(tcp.peer), {.version = TLS1_3_VERSION});
  ASSERT_EQ(SSL_set_ciphersuites(client.ssl(), GetParam()), 1);
  KeyLog log;
  SSL_set_app_data(client.ssl(), &log);
  SSL_CTX_set_keylog_callback(SSL_get_SSL_CTX(client.ssl()), read_line);
  bool connected = false;
  std::jthread peer([&] { connected = client.handshake(); });
  const auto stream = TlsStream::create(std::move(tcp.ours), context, TlsStream::Role::kServer);
  // Others have their turn meanwhile, derive keys of their own, and leave an error behind.
  const auto derive_others = [] {
    for (const char* label : {"c ap traffic", "key", "iv", "s ap traffic", "key", "iv"})
      expand_label(Octets(32, 1), label, 12, "provider=tlsplice");
    ERR_raise(ERR_LIB_USER, 1);
  };
  for (net::Io io; (io = stream->handshake(derive_others)).status != net::IoStatus::kDone;) {
    ASSERT_TRUE(tests::wait_for(*stream, io.status)) << stream->failure();
  }
  peer.join();
  ASSERT_TRUE(connected) << client.failure();

  auto keys = stream->traffic_keys();
  ASSERT_TRUE(keys.has_value());
  expect_keys(keys->receive, keys->cipher, log["CLIENT_TRAFFIC_SECRET_0"]);
  expect_keys(keys->send, keys->cipher, log["SERVER_TRAFFIC_SECRET_0"]);

  const Octets& secret = log["SERVER_TRAFFIC_SECRET_0"];
  ASSERT_TRUE(keys->advance(keys->cipher, keys->send));
  expect_keys(keys->send, keys->cipher, expand_label(secret, "traffic upd", secret.size()));
}

INSTANTIATE_TEST_SUITE_P(Suites, TrafficKeysOf13,
                         testing::Values("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                                         "TLS_CHACHA20_POLY1305_SHA256"));

}  // namespace
}  // namespace tlsplice::tls
