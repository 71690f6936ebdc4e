#include "tlsplice/tls/foreign.hpp"

#include <openssl/ssl.h>

#include "offer.hpp"

namespace tlsplice::tls {

void configure(ssl_ctx_st* theirs, const Context& ours) {
  ssl_ctx_st* const own = ours.get();
  SSL_CTX_set_security_level(theirs, SSL_CTX_get_security_level(own));
  SSL_CTX_set_min_proto_version(theirs, static_cast<int>(SSL_CTX_get_min_proto_version(own)));
  SSL_CTX_set_max_proto_version(theirs, static_cast<int>(SSL_CTX_get_max_proto_version(own)));
  set_suites_and_groups(theirs, ours.offer());
  SSL_CTX_clear_options(theirs, ~SSL_CTX_get_options(own));
  SSL_CTX_set_options(theirs, SSL_CTX_get_options(own));
  SSL_CTX_set_session_cache_mode(theirs, static_cast<int>(SSL_CTX_get_session_cache_mode(own)));
  SSL_CTX_set_verify(theirs, SSL_CTX_get_verify_mode(own), nullptr);
}

}  // namespace tlsplice::tls
