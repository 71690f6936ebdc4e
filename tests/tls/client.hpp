// A TLS peer made of plain OpenSSL on a blocking socket: a client of the listener, or a TLS target. It knows
// nothing of the product, so that what both agree on is TLS and not a shared mistake.
#pragma once

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "certificates.hpp"
#include "loopback.hpp"

namespace tlsplice::tests {

/// What a TLS peer is set to before its handshake.
struct Terms {
  int version = 0;               // only this one; 0: any
  const char* cipher = nullptr;  // of TLS 1.2 and before
};

class TlsPeer {
 public:
  static TlsPeer client(base::Fd socket, Terms terms = {}) {
    return {std::move(socket), TLS_client_method(), terms};
  }
  static TlsPeer server(base::Fd socket, const policy::Certificate& certificate, Terms terms = {}) {
    TlsPeer made(std::move(socket), TLS_server_method(), terms);
    SSL_use_certificate_file(made.ssl(), certificate.chain.c_str(), SSL_FILETYPE_PEM);
    SSL_use_PrivateKey_file(made.ssl(), certificate.key.c_str(), SSL_FILETYPE_PEM);
    return made;
  }

  SSL* ssl() const { return ssl_.get(); }
  int fd() const { return socket_.get(); }
  base::Fd& socket() { return socket_; }

  /// True, or failure() says why not.
  bool handshake() { return noted(SSL_do_handshake(ssl())); }
  bool write(std::string_view bytes) {
    std::size_t put = 0;
    return bytes.empty() || noted(SSL_write_ex(ssl(), bytes.data(), bytes.size(), &put));
  }
  /// Everything up to the end, or up to `limit` bytes. kFin means close_notify; a bare FIN is kReset to
  /// OpenSSL.
  Received read(std::size_t limit = std::string::npos);
  /// close_notify, the FIN not yet.
  bool close_notify() { return noted(SSL_shutdown(ssl()) >= 0 ? 1 : -1); }
  const std::string& failure() const { return failure_; }

 private:
  struct FreeSsl {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };
  TlsPeer(base::Fd socket, const SSL_METHOD* method, Terms terms);
  bool noted(int returned);

  base::Fd socket_;
  std::unique_ptr<SSL, FreeSsl> ssl_;
  std::string failure_;
};

inline TlsPeer::TlsPeer(base::Fd socket, const SSL_METHOD* method, Terms terms) : socket_(std::move(socket)) {
  SSL_CTX* context = SSL_CTX_new(method);
  SSL_CTX_set_security_level(context, 0);
  SSL_CTX_set_min_proto_version(context, terms.version != 0 ? terms.version : TLS1_VERSION);
  SSL_CTX_set_max_proto_version(context, terms.version);
  if (terms.cipher != nullptr) SSL_CTX_set_cipher_list(context, terms.cipher);
  ssl_.reset(SSL_new(context));
  SSL_CTX_free(context);
  SSL_set_fd(ssl(), fd());
  method == TLS_server_method() ? SSL_set_accept_state(ssl()) : SSL_set_connect_state(ssl());
}

inline bool TlsPeer::noted(int returned) {
  if (returned == 1) return true;
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  failure_ = reason != nullptr ? reason : "the connection was cut";
  ERR_clear_error();
  return false;
}

inline Received TlsPeer::read(std::size_t limit) {
  Received received;
  std::string piece(64 * 1024, '\0');
  while (received.bytes.size() < limit) {
    std::size_t got = 0;
    const int returned =
        SSL_read_ex(ssl(), piece.data(), std::min(piece.size(), limit - received.bytes.size()), &got);
    if (returned != 1) {
      received.end = SSL_get_error(ssl(), returned) == SSL_ERROR_ZERO_RETURN ? Saw::kFin : Saw::kReset;
      noted(returned);
      break;
    }
    received.bytes.append(piece, 0, got);
  }
  return received;
}

}  // namespace tlsplice::tests
