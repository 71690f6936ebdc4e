#include "errors.hpp"

#include <openssl/err.h>
#include <openssl/ssl.h>

namespace tlsplice::tls {
namespace {

/// By the numbers of openssl/sslerr.h, which OpenSSL never changes, not by their texts, which it does. Those
/// that a server can meet before it has agreed with its client.
NegotiationError reason_of(unsigned long code) {
  if (ERR_GET_LIB(code) != ERR_LIB_SSL) return NegotiationError::kOther;
  const int reason = ERR_GET_REASON(code);
  // A fatal alert from the peer is its number and this offset (openssl/ssl.h).
  if (reason >= SSL_AD_REASON_OFFSET && reason <= SSL_AD_REASON_OFFSET + 255) return NegotiationError::kAlert;
  switch (reason) {
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_PACKET_LENGTH_TOO_LONG:  // the same to OpenSSL 3.0
    case SSL_R_DATA_LENGTH_TOO_LONG:    // and to 3.2 and later
      return NegotiationError::kNotTls;
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_UNKNOWN_PROTOCOL:
    case SSL_R_WRONG_SSL_VERSION:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_VERSION_TOO_HIGH:
    case SSL_R_INAPPROPRIATE_FALLBACK:
      return NegotiationError::kProtocol;
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_CIPHERS_SPECIFIED:
    case SSL_R_NO_SHARED_GROUPS:
    case SSL_R_NO_SUITABLE_GROUPS:
    case SSL_R_NO_SUITABLE_KEY_SHARE:
    case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
    case SSL_R_NO_SUITABLE_DIGEST_ALGORITHM:
      return NegotiationError::kCipher;
    default:
      return NegotiationError::kOther;
  }
}

std::string text_of(unsigned long code) {
  if (ERR_SYSTEM_ERROR(code)) return "system error";
  const char* reason = ERR_reason_error_string(code);
  return reason != nullptr ? reason : "error " + std::to_string(code);
}

}  // namespace

LibraryError take_library_error() {
  LibraryError taken;
  unsigned long told = 0;
  while (const unsigned long code = ERR_get_error()) {
    if (taken.reason != NegotiationError::kOther) continue;
    told = code;
    taken.reason = reason_of(code);
  }
  if (told != 0) taken.text = text_of(told);
  return taken;
}

std::string take_error() {
  return take_library_error().text;
}

}  // namespace tlsplice::tls
