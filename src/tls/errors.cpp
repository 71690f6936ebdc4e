#include "errors.hpp"

#include <openssl/err.h>

namespace tlsplice::tls {

std::string take_error() {
  const unsigned long code = ERR_peek_last_error();
  if (code == 0) return {};
  const char* reason = ERR_reason_error_string(code);
  std::string text = reason != nullptr ? reason : "error " + std::to_string(code);
  if (ERR_SYSTEM_ERROR(code)) text = "system error";
  ERR_clear_error();
  return text;
}

}  // namespace tlsplice::tls
