// Puts a predefined security policy into an OpenSSL context, and says what of it this OpenSSL cannot offer.
// Nothing is silently left out: every suite, group and version of the policy is offered or named with a
// reason.
#pragma once

#include <openssl/ssl.h>

#include <cstdint>

#include "tlsplice/base/result.hpp"
#include "tlsplice/policy/ssl_policies.hpp"
#include "tlsplice/tls/context.hpp"

namespace tlsplice::tls {

/// Which suites the certificate's key can sign for; kEither for a context without one (a client).
enum class KeyKind : std::uint8_t { kEither, kRsa, kEc };

/// Before the certificate is loaded, which judges its key by the level.
void set_security_level(SSL_CTX* context, const policy::SslPolicy& policy);

/// What was found to be on offer, without trying each again.
void set_suites_and_groups(SSL_CTX* context, const Offer& offer);

/// Fails when nothing of the policy can be offered.
base::Result<Offer> apply(SSL_CTX* context, const policy::SslPolicy& policy, KeyKind key);

}  // namespace tlsplice::tls
