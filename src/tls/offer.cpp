// Every suite, group and version is tried on its own, so that one which the library lacks costs only itself.
// TLS 1.0 and 1.1 need signatures with MD5-SHA1, hence security level 0 where the policy has them, and only
// there (SSL_CTX_set_security_level(3)); elsewhere level 1, whatever the distribution's default.
#include "offer.hpp"

#include <openssl/ssl.h>

#include <algorithm>
#include <ranges>

#include "errors.hpp"

namespace tlsplice::tls {
namespace {

using policy::SslPolicy;
using policy::TlsVersion;

constexpr int kLegacySecurityLevel = 0;
constexpr int kSecurityLevel = 1;

bool is_tls13_suite(std::string_view name) {
  return name.starts_with("TLS_");
}

std::string join(const std::vector<std::string>& names) {
  std::string joined;
  for (const std::string& name : names) {
    if (!joined.empty()) joined += ':';
    joined += name;
  }
  return joined;
}

bool library_has_suite(SSL_CTX* probe, const std::string& name) {
  // A list in which nothing is known is an error for both calls (SSL_CTX_set_cipher_list(3)).
  const int known = is_tls13_suite(name) ? SSL_CTX_set_ciphersuites(probe, name.c_str())
                                         : SSL_CTX_set_cipher_list(probe, name.c_str());
  take_error();
  return known == 1;
}

/// Why a suite cannot be offered; empty when it can.
Missing why_not(SSL_CTX* probe, const std::string& name, KeyKind key) {
  if (!library_has_suite(probe, name)) return {name, library_version() + " was built without it", true};
  const bool ecdsa = name.starts_with("ECDHE-ECDSA-");
  if (key == KeyKind::kRsa && ecdsa) return {name, "needs an EC key, the certificate has an RSA key", false};
  if (key == KeyKind::kEc && !ecdsa && !is_tls13_suite(name)) {
    return {name, "needs an RSA key, the certificate has an EC key", false};
  }
  return {};
}

base::Result<void> choose_suites(SSL_CTX* context, const SslPolicy& policy, KeyKind key, Offer& offer) {
  for (const std::string& name : policy.ciphers) {
    Missing missing = why_not(context, name, key);
    if (missing.name.empty()) {
      offer.ciphers.push_back(name);
    } else {
      offer.missing.push_back(std::move(missing));
    }
  }
  if (offer.ciphers.empty()) {
    return base::fail(
        base::Error::invalid("none of the cipher suites of " + policy.name + " can be offered"));
  }
  return {};
}

/// The empty TLS 1.3 list is set as well: OpenSSL's default would offer suites that the policy does not have.
/// The older list cannot be empty; a TLS 1.3 policy never negotiates from it.
void set_suites(SSL_CTX* context, const std::vector<std::string>& names) {
  std::vector<std::string> older;
  std::vector<std::string> tls13;
  for (const std::string& name : names) (is_tls13_suite(name) ? tls13 : older).push_back(name);
  SSL_CTX_set_ciphersuites(context, join(tls13).c_str());
  if (!older.empty()) SSL_CTX_set_cipher_list(context, join(older).c_str());
}

void choose_groups(SSL_CTX* context, const SslPolicy& policy, Offer& offer) {
  for (const std::string& name : policy.groups) {
    if (SSL_CTX_set1_groups_list(context, name.c_str()) == 1) {
      offer.groups.push_back(name);
    } else {
      offer.missing.push_back({name, library_version() + " does not know this group", true});
    }
  }
  take_error();
}

base::Result<void> set_protocols(SSL_CTX* context, const SslPolicy& policy, Offer& offer) {
  std::vector<TlsVersion> usable;
  for (const TlsVersion version : policy.protocols) {
    const bool has_suite = std::ranges::any_of(offer.ciphers, [&](const std::string& name) {
      return is_tls13_suite(name) == (version == TlsVersion::kTls13);
    });
    if (!has_suite) {
      offer.missing.push_back({to_string(version), "none of its cipher suites can be offered", true});
    } else if (SSL_CTX_set_min_proto_version(context, static_cast<int>(version)) != 1) {
      offer.missing.push_back({to_string(version), library_version() + " was built without it", true});
    } else {
      usable.push_back(version);
      offer.protocols.emplace_back(to_string(version));
    }
  }
  take_error();
  if (usable.empty()) {
    return base::fail(base::Error::invalid("none of the protocols of " + policy.name + " can be offered"));
  }
  SSL_CTX_set_min_proto_version(context, static_cast<int>(usable.front()));
  SSL_CTX_set_max_proto_version(context, static_cast<int>(usable.back()));
  return {};
}

}  // namespace

void set_security_level(SSL_CTX* context, const SslPolicy& policy) {
  const bool legacy = policy.protocols.front() < TlsVersion::kTls12;
  SSL_CTX_set_security_level(context, legacy ? kLegacySecurityLevel : kSecurityLevel);
}

void set_suites_and_groups(SSL_CTX* context, const Offer& offer) {
  set_suites(context, offer.ciphers);
  if (!offer.groups.empty()) SSL_CTX_set1_groups_list(context, join(offer.groups).c_str());
}

base::Result<Offer> apply(SSL_CTX* context, const SslPolicy& policy, KeyKind key) {
  Offer offer;
  if (auto chosen = choose_suites(context, policy, key, offer); !chosen) return base::fail(chosen.error());
  choose_groups(context, policy, offer);
  set_suites_and_groups(context, offer);
  if (auto set = set_protocols(context, policy, offer); !set) return base::fail(set.error());
  return offer;
}

}  // namespace tlsplice::tls
