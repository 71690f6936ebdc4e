// Promised: Context::server opens exactly the certificates that the load balancer takes, says everything that
// is wrong with a listener at once and how to lift a limit; the rest is a warning. Checked with real files of
// every kind. What a context then offers is in offer_test.cpp.
#include "tlsplice/tls/context.hpp"

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include <algorithm>

#include "certificates.hpp"

namespace tlsplice::tls {
namespace {

using policy::CertificateKeys;
using policy::Mistake;
using tests::Certificates;
using tests::Key;

policy::Listener listener(policy::Certificate certificate,
                          CertificateKeys keys = CertificateKeys::kDocument) {
  policy::Listener made;
  made.name = "web";
  made.certificate = std::move(certificate);
  made.certificate.place = {7, 3};
  made.certificate_keys = keys;
  return made;
}

std::vector<Mistake> mistakes_of(const policy::Listener& listener) {
  auto made = Context::server(listener);
  EXPECT_FALSE(made.has_value());
  return made ? std::vector<Mistake>{} : made.error();
}

/// The only mistake, which stands at `key` of the listener and at the certificate's place.
std::string mistake_of(const policy::Listener& listener, const std::string& key) {
  const auto mistakes = mistakes_of(listener);
  if (mistakes.size() != 1) {
    ADD_FAILURE() << mistakes.size() << " mistakes";
    return {};
  }
  EXPECT_EQ(mistakes[0].key, "listener." + key);
  EXPECT_EQ(mistakes[0].place, (policy::Place{7, 3}));
  return mistakes[0].what;
}

void expect_contains(const std::string& text, std::string_view part) {
  EXPECT_NE(text.find(part), std::string::npos) << text;
}

TEST(Context, TakesRsaUpTo2048Bits) {
  for (const Key key : {Key::kRsa1024, Key::kRsa2048}) {
    const auto made = Context::server(listener(Certificates::shared().of(key)));
    ASSERT_TRUE(made.has_value());
    EXPECT_TRUE(made->offer().warnings.empty());
    EXPECT_NE(made->get(), nullptr);
  }
}

// The document excludes large keys and EC keys, not small ones: a policy must not do so behind its back.
TEST(Context, Takes1024BitsUnderEveryPolicyOfTheDocument) {
  auto small = listener(Certificates::shared().of(Key::kRsa1024));
  for (const policy::SslPolicy& ssl_policy : policy::ssl_policies().first(7)) {
    small.ssl_policy = ssl_policy.name;
    const auto made = Context::server(small);
    EXPECT_TRUE(made.has_value()) << ssl_policy.name << ": " << made.error()[0].what;
  }
}

TEST(Context, Refuses4096BitsAndNamesTheSettingThatLiftsIt) {
  const auto certificate = Certificates::shared().of(Key::kRsa4096);
  const auto what = mistake_of(listener(certificate), "certificate.key");
  expect_contains(what, "4096");
  expect_contains(what, "2048");
  expect_contains(what, "certificate_keys = \"any\"");
  EXPECT_TRUE(Context::server(listener(certificate, CertificateKeys::kAny)).has_value());
}

TEST(Context, RefusesEcKeysAndNamesTheSettingThatLiftsIt) {
  const auto certificate = Certificates::shared().of(Key::kEcP256);
  const auto what = mistake_of(listener(certificate), "certificate.key");
  expect_contains(what, "EC key");
  expect_contains(what, "certificate_keys = \"any\"");
  EXPECT_TRUE(Context::server(listener(certificate, CertificateKeys::kAny)).has_value());
}

TEST(Context, RefusesOtherKeysWhateverTheSetting) {
  const auto certificate = Certificates::shared().of(Key::kEd25519);
  for (const auto keys : {CertificateKeys::kDocument, CertificateKeys::kAny}) {
    const auto what = mistake_of(listener(certificate, keys), "certificate.key");
    expect_contains(what, "neither RSA nor EC");
  }
}

TEST(Context, RefusesAKeyThatIsNotTheCertificates) {
  const auto certificate = Certificates::shared().mixed(Key::kRsa2048, Key::kRsa2048Another);
  const auto what = mistake_of(listener(certificate), "certificate.key");
  expect_contains(what, "is not the key of the certificate in");
  expect_contains(what, certificate.key.string());
  expect_contains(what, certificate.chain.string());
}

// OpenSSL keeps one certificate for each kind of key, so a key of another kind mismatches nothing that it
// looks at.
TEST(Context, RefusesAKeyOfAnotherKindThanTheCertificates) {
  for (const auto& [chain, key] : {std::pair(Key::kRsa2048, Key::kEcP256), {Key::kEcP256, Key::kRsa2048}}) {
    const auto certificate = Certificates::shared().mixed(chain, key);
    const auto what = mistake_of(listener(certificate, CertificateKeys::kAny), "certificate.key");
    expect_contains(what, "is not the key of the certificate in");
  }
}

TEST(Context, RefusesAnEncryptedKeyWithoutAsking) {
  const auto certificate = Certificates::shared().with_encrypted_key(Key::kRsa2048);
  const auto what = mistake_of(listener(certificate), "certificate.key");
  expect_contains(what, certificate.key.string());
  expect_contains(what, "without a passphrase");
}

TEST(Context, NamesAMissingFile) {
  auto certificate = Certificates::shared().of(Key::kRsa2048);
  certificate.chain = Certificates::shared().missing();
  const auto what = mistake_of(listener(certificate), "certificate.chain");
  expect_contains(what, certificate.chain.string());
  expect_contains(what, "No such file");
}

TEST(Context, RefusesGarbage) {
  const auto good = Certificates::shared().of(Key::kRsa2048);
  const auto garbage = Certificates::shared().garbage();
  expect_contains(mistake_of(listener({garbage, good.key, {}}), "certificate.chain"),
                  "no usable PEM certificate");
  expect_contains(mistake_of(listener({good.chain, garbage, {}}), "certificate.key"),
                  "no usable private key");
  expect_contains(mistake_of(listener({good.key, good.key, {}}), "certificate.chain"),
                  "no usable PEM certificate");
}

TEST(Context, RefusesAFolder) {
  const auto good = Certificates::shared().of(Key::kRsa2048);
  mistake_of(listener({good.chain.parent_path(), good.key, {}}), "certificate.chain");
  mistake_of(listener({good.chain, good.key.parent_path(), {}}), "certificate.key");
}

TEST(Context, SaysAllMistakesAtOnce) {
  const auto missing = Certificates::shared().missing();
  const auto mistakes = mistakes_of(listener({missing, missing, {}}));
  ASSERT_EQ(mistakes.size(), 2u);
  EXPECT_EQ(mistakes[0].key, "listener.certificate.chain");
  EXPECT_EQ(mistakes[1].key, "listener.certificate.key");
  EXPECT_EQ(mistakes_of(listener({Certificates::shared().garbage(), missing, {}})).size(), 2u);
}

TEST(Context, OnlyWarnsOfValidity) {
  const auto expired = listener(Certificates::shared().of(Key::kRsa2048, {-30, -1}));
  const auto early = listener(Certificates::shared().of(Key::kRsa2048, {1, 30}));
  for (const auto& [mistaken, word] : {std::pair(expired, "expired"), {early, "not valid yet"}}) {
    const auto made = Context::server(mistaken);
    ASSERT_TRUE(made.has_value());
    ASSERT_EQ(made->offer().warnings.size(), 1u);
    expect_contains(made->offer().warnings[0], word);
    expect_contains(made->offer().warnings[0], mistaken.certificate.chain.string());
  }
}

TEST(Context, LeavesNoErrorBehind) {
  (void)Context::server(listener(Certificates::shared().mixed(Key::kRsa2048, Key::kRsa2048Another)));
  (void)Context::server(listener(Certificates::shared().with_encrypted_key(Key::kRsa2048)));
  EXPECT_TRUE(Context::server(listener(Certificates::shared().of(Key::kRsa2048))).has_value());
}

TEST(Context, MovesWithItsOffer) {
  auto made = Context::server(listener(Certificates::shared().of(Key::kRsa2048)));
  ASSERT_TRUE(made.has_value());
  ssl_ctx_st* const inside = made->get();
  const Context moved = std::move(*made);
  EXPECT_EQ(moved.get(), inside);
  EXPECT_FALSE(moved.offer().ciphers.empty());
}

TEST(Context, NeitherResumesNorCompresses) {
  const auto made = Context::server(listener(Certificates::shared().of(Key::kRsa2048)));
  ASSERT_TRUE(made.has_value());
  EXPECT_EQ(SSL_CTX_get_session_cache_mode(made->get()), SSL_SESS_CACHE_OFF);
  EXPECT_EQ(SSL_CTX_get_num_tickets(made->get()), 0u);
  EXPECT_EQ(SSL_CTX_get_max_early_data(made->get()), 0u);
  constexpr auto kOptions = SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION;
  EXPECT_EQ(SSL_CTX_get_options(made->get()) & kOptions, kOptions);
}

TEST(Context, ForTargetsHasTheDefaultPolicyAndTrustsAnyCertificate) {
  const auto made = Context::client();
  ASSERT_TRUE(made.has_value());
  EXPECT_EQ(made->offer().ciphers, policy::find_ssl_policy(policy::kDefaultSslPolicy)->ciphers);
  EXPECT_EQ(SSL_CTX_get_verify_mode(made->get()), SSL_VERIFY_NONE);
}

TEST(Context, NamesTheLibrary) {
  EXPECT_TRUE(library_version().starts_with("OpenSSL 3.")) << library_version();
}

}  // namespace
}  // namespace tlsplice::tls
