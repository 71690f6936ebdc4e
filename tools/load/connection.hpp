// One TCP connection, with TLS on it or without, non-blocking: what moved, or why not. Payload bytes are
// counted here. A TLS connection can send its close_notify and go on reading (RFC 8446, 6.1), a plain one its
// FIN.
#pragma once

#include <openssl/ssl.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "pattern.hpp"
#include "tlsplice/base/fd.hpp"
#include "tlsplice/base/result.hpp"

namespace tlsplice::load {

enum class Io : std::uint8_t {
  kDone,    // at least one byte, or the step is complete
  kAgain,   // wait until the socket is ready
  kEnd,     // the peer's clean end: FIN, and close_notify before it on TLS
  kReset,   // the peer reset the connection
  kFailed,  // anything else; why() says what
};

struct Moved {
  Io io = Io::kAgain;
  std::size_t size = 0;
};

struct SslContextFree {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
using SslContext = std::unique_ptr<SSL_CTX, SslContextFree>;

struct TlsOptions {
  std::string version;           // "1.2", "1.3", or empty: all that the library has
  std::string ciphers;           // names of either version, separated by colons; empty: the library's
  std::string groups;            // likewise
  bool take_truncation = false;  // for an end: some peers never send a close_notify
};

/// Neither tickets nor sessions: every handshake is a full one. A client does not look at the certificate.
base::Result<SslContext> client_context(const TlsOptions& options);
base::Result<SslContext> server_context(const TlsOptions& options, const std::string& chain,
                                        const std::string& key);

class Connection {
 public:
  enum class Role : std::uint8_t { kClient, kServer };

  /// Plain if `context` is null. Of a client, connect() may still be under way.
  Connection(base::Fd socket, Role role, SSL_CTX* context);

  int fd() const { return socket_.get(); }

  /// Completes connect() and the TLS handshake; kDone once reading and writing may begin.
  Io establish();

  Moved read(std::span<std::byte> into);
  Moved write(Bytes data);

  /// No more is sent: FIN; on TLS close_notify, and FIN unless `fin` is false.
  Io finish(bool fin = true);

  /// The connection ends with a RST when this object dies.
  void reset();

  std::uint64_t sent() const { return sent_; }
  std::uint64_t received() const { return received_; }
  bool established() const { return established_; }
  const std::string& why() const { return why_; }

 private:
  struct SslFree {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };

  Io fail_with_errno(int errnum);
  Io after_ssl(int result);

  base::Fd socket_;
  std::unique_ptr<SSL, SslFree> ssl_;
  std::uint64_t sent_ = 0;
  std::uint64_t received_ = 0;
  bool connecting_;
  bool established_ = false;
  std::string why_;
};

}  // namespace tlsplice::load
