// Puts a predefined security policy into an OpenSSL context, and says what of it this OpenSSL cannot offer.
#pragma once

#include <openssl/ssl.h>

#include "tlsplice/base/result.hpp"
#include "tlsplice/policy/ssl_policies.hpp"
#include "tlsplice/tls/context.hpp"

namespace tlsplice::tls {

/// Which suites the certificate's key can sign for; kEither for a context without one (a client).
enum class KeyKind { kEither, kRsa, kEc };

/// Before the certificate is loaded, which judges its key by the level.
void set_security_level(SSL_CTX* context, const policy::SslPolicy& policy);

/// Fails when nothing of the policy can be offered.
base::Result<Offer> apply(SSL_CTX* context, const policy::SslPolicy& policy, KeyKind key);

}  // namespace tlsplice::tls
