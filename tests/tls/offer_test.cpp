// Promised: with either kind of key, every predefined policy accepts exactly its own protocols and cipher
// suites, in its own order, and says truthfully what this OpenSSL cannot offer of it. Checked by handshakes
// over memory between the listener's context and a plain OpenSSL client that is confined to one version and
// one suite, against a table of the tests' own.
#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <array>
#include <ranges>
#include <set>

#include "certificates.hpp"
#include "tlsplice/tls/context.hpp"

namespace tlsplice::tls {
namespace {

using policy::SslPolicy;
using policy::TlsVersion;
using tests::Certificates;
using tests::Key;

enum class Needs { kNothing, kRsa, kEc };

/// A cipher suite, the versions it can be negotiated in, and the key that the server needs for it.
struct Suite {
  const char* name;
  TlsVersion from;
  TlsVersion until;
  Needs needs;
};

constexpr auto kOld = TlsVersion::kTls10;
constexpr auto kV12 = TlsVersion::kTls12;
constexpr auto kV13 = TlsVersion::kTls13;

// SHA-256 and GCM came with TLS 1.2 (RFC 5246, RFC 5289); TLS 1.3 shares no suite with its elders (RFC 8446
// B.4).
constexpr std::array<Suite, 22> kSuites{{
    {"TLS_AES_128_GCM_SHA256", kV13, kV13, Needs::kNothing},
    {"TLS_AES_256_GCM_SHA384", kV13, kV13, Needs::kNothing},
    {"TLS_CHACHA20_POLY1305_SHA256", kV13, kV13, Needs::kNothing},
    {"ECDHE-ECDSA-AES128-GCM-SHA256", kV12, kV12, Needs::kEc},
    {"ECDHE-RSA-AES128-GCM-SHA256", kV12, kV12, Needs::kRsa},
    {"ECDHE-ECDSA-AES128-SHA256", kV12, kV12, Needs::kEc},
    {"ECDHE-RSA-AES128-SHA256", kV12, kV12, Needs::kRsa},
    {"ECDHE-ECDSA-AES128-SHA", kOld, kV12, Needs::kEc},
    {"ECDHE-RSA-AES128-SHA", kOld, kV12, Needs::kRsa},
    {"ECDHE-ECDSA-AES256-GCM-SHA384", kV12, kV12, Needs::kEc},
    {"ECDHE-RSA-AES256-GCM-SHA384", kV12, kV12, Needs::kRsa},
    {"ECDHE-ECDSA-AES256-SHA384", kV12, kV12, Needs::kEc},
    {"ECDHE-RSA-AES256-SHA384", kV12, kV12, Needs::kRsa},
    {"ECDHE-RSA-AES256-SHA", kOld, kV12, Needs::kRsa},
    {"ECDHE-ECDSA-AES256-SHA", kOld, kV12, Needs::kEc},
    {"AES128-GCM-SHA256", kV12, kV12, Needs::kRsa},
    {"AES128-SHA256", kV12, kV12, Needs::kRsa},
    {"AES128-SHA", kOld, kV12, Needs::kRsa},
    {"AES256-GCM-SHA384", kV12, kV12, Needs::kRsa},
    {"AES256-SHA256", kV12, kV12, Needs::kRsa},
    {"AES256-SHA", kOld, kV12, Needs::kRsa},
    {"DES-CBC3-SHA", kOld, kV12, Needs::kRsa},
}};
constexpr std::array kVersions{TlsVersion::kTls10, TlsVersion::kTls11, TlsVersion::kTls12,
                               TlsVersion::kTls13};
constexpr std::array kKeys{Key::kRsa2048, Key::kEcP256};

struct FreeContext {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
struct FreeSsl {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};
using ClientContext = std::unique_ptr<SSL_CTX, FreeContext>;
using Ssl = std::unique_ptr<SSL, FreeSsl>;

const Suite& suite_of(std::string_view name) {
  return *std::ranges::find(kSuites, name, &Suite::name);
}

bool has(const auto& list, const auto& element) {
  return std::ranges::find(list, element) != list.end();
}

bool fits(const Suite& suite, TlsVersion version, Key key) {
  if (suite.needs != Needs::kNothing && (suite.needs == Needs::kRsa) != (key == Key::kRsa2048)) return false;
  return suite.from <= version && version <= suite.until;
}

bool is_tls13(std::string_view name) {
  return name.starts_with("TLS_");
}

/// Null when the tests' OpenSSL has none of the suites, or none in that version.
ClientContext client_with(const std::vector<std::string>& suites, TlsVersion version) {
  ClientContext context(SSL_CTX_new(TLS_client_method()));
  SSL_CTX_set_security_level(context.get(), 0);
  std::string older;
  std::string tls13;
  for (const std::string& name : suites) (is_tls13(name) ? tls13 : older) += (name + ":");
  if ((version == kV13 ? tls13 : older).empty()) return nullptr;
  const bool set = SSL_CTX_set_ciphersuites(context.get(), tls13.c_str()) == 1 &&
                   (older.empty() || SSL_CTX_set_cipher_list(context.get(), older.c_str()) == 1);
  SSL_CTX_set_min_proto_version(context.get(), static_cast<int>(version));
  SSL_CTX_set_max_proto_version(context.get(), static_cast<int>(version));
  return set ? std::move(context) : nullptr;
}

bool library_has(const char* suite) {
  const auto version = is_tls13(suite) ? kV13 : kV12;
  return client_with({suite}, version) != nullptr;
}

/// The suite that client and server agree on; empty when they do not.
std::string negotiate(const Context& server, SSL_CTX* client) {
  const Ssl theirs(SSL_new(client));
  const Ssl ours(SSL_new(server.get()));
  BIO* up = nullptr;
  BIO* down = nullptr;
  BIO_new_bio_pair(&up, 0, &down, 0);
  SSL_set_bio(theirs.get(), up, up);
  SSL_set_bio(ours.get(), down, down);
  SSL_set_connect_state(theirs.get());
  SSL_set_accept_state(ours.get());
  for (int round = 0; round < 8; ++round) {
    const int connected = SSL_do_handshake(theirs.get());
    if (connected != 1 && SSL_get_error(theirs.get(), connected) != SSL_ERROR_WANT_READ) return {};
    const int accepted = SSL_do_handshake(ours.get());
    if (accepted != 1 && SSL_get_error(ours.get(), accepted) != SSL_ERROR_WANT_READ) return {};
    if (connected == 1 && accepted == 1) return SSL_get_cipher_name(theirs.get());
  }
  return {};
}

/// The context of a listener under that policy; empty when nothing of the policy can be offered.
std::expected<Context, std::vector<policy::Mistake>> context_of(const SslPolicy& ssl_policy, Key key) {
  static std::map<Key, policy::Certificate> certificates;
  auto& certificate = certificates[key];
  if (certificate.chain.empty()) certificate = Certificates::shared().of(key);
  policy::Listener listener;
  listener.certificate = certificate;
  listener.certificate_keys = policy::CertificateKeys::kAny;
  listener.ssl_policy = ssl_policy.name;
  return Context::server(listener);
}

std::string describe(const SslPolicy& ssl_policy, Key key) {
  return ssl_policy.name + (key == Key::kRsa2048 ? " with an RSA key" : " with an EC key");
}

/// What a policy must offer with that key, in its order.
std::vector<std::string> usable_suites(const SslPolicy& ssl_policy, Key key) {
  std::vector<std::string> usable;
  for (const std::string& name : ssl_policy.ciphers) {
    const Suite& suite = suite_of(name);
    if (library_has(suite.name) && fits(suite, suite.from, key)) usable.push_back(name);
  }
  return usable;
}

const Missing* missing(const Offer& offer, std::string_view name) {
  const auto found = std::ranges::find(offer.missing, name, &Missing::name);
  return found == offer.missing.end() ? nullptr : &*found;
}

TEST(Offer, TheTableKnowsEverySuiteOfEveryPolicy) {
  std::set<std::string> named;
  for (const SslPolicy& ssl_policy : policy::ssl_policies()) {
    named.insert(ssl_policy.ciphers.begin(), ssl_policy.ciphers.end());
  }
  for (const std::string& name : named)
    EXPECT_TRUE(has(kSuites | std::views::transform(&Suite::name), name)) << name;
  EXPECT_EQ(named.size(), kSuites.size());
  EXPECT_EQ(policy::ssl_policies().size(), 49u);
}

TEST(Offer, HasThePolicysSuitesInItsOrder) {
  for (const SslPolicy& ssl_policy : policy::ssl_policies()) {
    for (const Key key : kKeys) {
      const auto usable = usable_suites(ssl_policy, key);
      const auto context = context_of(ssl_policy, key);
      ASSERT_EQ(context.has_value(), !usable.empty()) << describe(ssl_policy, key);
      if (context) EXPECT_EQ(context->offer().ciphers, usable) << describe(ssl_policy, key);
    }
  }
}

TEST(Offer, GivesAReasonForEverySuiteItLacks) {
  for (const SslPolicy& ssl_policy : policy::ssl_policies()) {
    for (const Key key : kKeys) {
      const auto context = context_of(ssl_policy, key);
      if (!context) continue;
      for (const std::string& name : ssl_policy.ciphers) {
        const bool offered = has(context->offer().ciphers, name);
        const Missing* lacks = missing(context->offer(), name);
        ASSERT_EQ(offered, lacks == nullptr) << describe(ssl_policy, key) << " " << name;
        if (offered) continue;
        EXPECT_FALSE(lacks->why.empty());
        EXPECT_EQ(lacks->library, !library_has(name.c_str())) << lacks->why;
      }
    }
  }
}

TEST(Offer, AccountsForEveryProtocolAndGroup) {
  for (const SslPolicy& ssl_policy : policy::ssl_policies()) {
    const auto context = context_of(ssl_policy, Key::kRsa2048);
    if (!context) continue;
    const Offer& offer = context->offer();
    EXPECT_FALSE(offer.protocols.empty());
    EXPECT_FALSE(offer.groups.empty());
    for (const TlsVersion version : ssl_policy.protocols) {
      const std::string name = to_string(version);
      EXPECT_NE(has(offer.protocols, name), missing(offer, name) != nullptr)
          << ssl_policy.name << " " << name;
    }
    for (const std::string& name : ssl_policy.groups) {
      EXPECT_NE(has(offer.groups, name), missing(offer, name) != nullptr) << ssl_policy.name << " " << name;
    }
    EXPECT_TRUE(
        std::ranges::all_of(offer.groups, [&](const auto& name) { return has(ssl_policy.groups, name); }));
  }
}

TEST(Offer, BlamesTheLibraryForTripleDes) {
  if (library_has("DES-CBC3-SHA")) GTEST_SKIP() << "this OpenSSL has weak suites";
  const auto context =
      context_of(*policy::find_ssl_policy("ELBSecurityPolicy-TLS-1-0-2015-04"), Key::kRsa2048);
  ASSERT_TRUE(context.has_value());
  const Missing* lacks = missing(context->offer(), "DES-CBC3-SHA");
  ASSERT_NE(lacks, nullptr);
  EXPECT_TRUE(lacks->library);
  EXPECT_NE(lacks->why.find(library_version()), std::string::npos) << lacks->why;
}

TEST(Offer, BlamesTheCertificateForSuitesOfTheOtherKey) {
  const auto& ssl_policy = *policy::find_ssl_policy(policy::kDefaultSslPolicy);
  const auto rsa = context_of(ssl_policy, Key::kRsa2048);
  const auto ec = context_of(ssl_policy, Key::kEcP256);
  ASSERT_TRUE(rsa.has_value() && ec.has_value());
  for (const auto& [context, name] :
       {std::pair(&*rsa, "ECDHE-ECDSA-AES128-SHA"), {&*ec, "ECDHE-RSA-AES128-SHA"}}) {
    const Missing* lacks = missing(context->offer(), name);
    ASSERT_NE(lacks, nullptr);
    EXPECT_FALSE(lacks->library);
  }
}

TEST(Offer, NoProtocolIsOfferedWithoutASuite) {
  for (const SslPolicy& ssl_policy : policy::ssl_policies()) {
    for (const Key key : kKeys) {
      const auto context = context_of(ssl_policy, key);
      if (!context) continue;
      for (const TlsVersion version : kVersions) {
        if (!has(context->offer().protocols, to_string(version))) continue;
        const auto fitting = [&](const std::string& name) { return fits(suite_of(name), version, key); };
        EXPECT_TRUE(std::ranges::any_of(context->offer().ciphers, fitting))
            << describe(ssl_policy, key) << " " << to_string(version);
      }
    }
  }
}

/// Clients that know one suite and one version; null where the tests' OpenSSL cannot even ask.
const ClientContext& single_client(std::size_t suite, TlsVersion version) {
  static std::map<std::pair<std::size_t, TlsVersion>, ClientContext> clients;
  const auto [place, fresh] = clients.try_emplace({suite, version});
  if (fresh) place->second = client_with({kSuites[suite].name}, version);
  return place->second;
}

class Matrix : public testing::TestWithParam<Key> {};

TEST_P(Matrix, AcceptsExactlyItsOwnVersionsAndSuites) {
  std::size_t agreed = 0;
  for (const SslPolicy& ssl_policy : policy::ssl_policies()) {
    const auto context = context_of(ssl_policy, GetParam());
    for (std::size_t i = 0; context && i < kSuites.size(); ++i) {
      for (const TlsVersion version : kVersions) {
        const ClientContext& client = single_client(i, version);
        const bool expected = client && has(ssl_policy.ciphers, std::string(kSuites[i].name)) &&
                              has(ssl_policy.protocols, version) && fits(kSuites[i], version, GetParam());
        const std::string suite = client ? negotiate(*context, client.get()) : std::string();
        EXPECT_EQ(suite, expected ? kSuites[i].name : "")
            << describe(ssl_policy, GetParam()) << ", " << to_string(version) << " with " << kSuites[i].name;
        agreed += suite.empty() ? 0 : 1;
      }
    }
  }
  EXPECT_GT(agreed, 7u * 5u);
}

TEST_P(Matrix, PrefersItsOwnOrder) {
  for (const SslPolicy& ssl_policy : policy::ssl_policies()) {
    const auto context = context_of(ssl_policy, GetParam());
    if (!context) continue;
    for (const TlsVersion version : kVersions) {
      std::vector<std::string> backwards;
      for (const Suite& suite : kSuites) {
        if (!has(ssl_policy.ciphers, std::string(suite.name))) backwards.emplace_back(suite.name);
      }
      std::ranges::copy(ssl_policy.ciphers | std::views::reverse, std::back_inserter(backwards));
      const auto fitting = [&](const std::string& name) {
        return library_has(name.c_str()) && fits(suite_of(name), version, GetParam());
      };
      const auto first = std::ranges::find_if(ssl_policy.ciphers, fitting);
      const bool expected = has(ssl_policy.protocols, version) && first != ssl_policy.ciphers.end();
      EXPECT_EQ(negotiate(*context, client_with(backwards, version).get()), expected ? *first : "")
          << describe(ssl_policy, GetParam()) << ", " << to_string(version);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Offer, Matrix, testing::ValuesIn(kKeys),
                         [](const auto& key) { return key.param == Key::kRsa2048 ? "Rsa" : "Ec"; });

}  // namespace
}  // namespace tlsplice::tls
