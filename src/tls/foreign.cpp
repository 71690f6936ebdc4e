#include "tlsplice/tls/foreign.hpp"

#include <openssl/err.h>
#include <openssl/ssl.h>

namespace tlsplice::tls {

ssl_st* new_connection(const Context& context) {
  return SSL_new(context.get());
}

void say_goodbye(ssl_st* connection) {
  if (SSL_is_init_finished(connection) == 1) SSL_shutdown(connection);
  ERR_clear_error();
}

std::string explain(unsigned long code) {
  ERR_clear_error();
  const char* const reason = ERR_reason_error_string(code);
  return reason != nullptr ? reason : "error " + std::to_string(code);
}

}  // namespace tlsplice::tls
