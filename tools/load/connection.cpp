#include "connection.hpp"

#include <openssl/err.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "tlsplice/net/socket.hpp"

namespace tlsplice::load {
namespace {

std::string last_ssl_error() {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  const char* const reason = code != 0 ? ERR_reason_error_string(code) : nullptr;
  return reason != nullptr ? reason : "unknown error of the TLS library";
}

base::Result<SslContext> failed(const std::string& doing) {
  return base::fail(base::Error::invalid(doing + ": " + last_ssl_error()));
}

int version_number(const std::string& version) {
  if (version == "1.2") return TLS1_2_VERSION;
  return version == "1.3" ? TLS1_3_VERSION : 0;
}

/// OpenSSL keeps the names of TLS 1.3 apart from the others.
bool set_ciphers(SSL_CTX* context, const std::string& names) {
  std::string old_names, new_names;
  for (std::size_t start = 0; start < names.size();) {
    const std::size_t end = std::min(names.find(':', start), names.size());
    const std::string name = names.substr(start, end - start);
    std::string& list = name.starts_with("TLS_") ? new_names : old_names;
    list += (list.empty() ? "" : ":") + name;
    start = end + 1;
  }
  return (old_names.empty() || SSL_CTX_set_cipher_list(context, old_names.c_str()) == 1) &&
         (new_names.empty() || SSL_CTX_set_ciphersuites(context, new_names.c_str()) == 1);
}

base::Result<SslContext> make_context(const SSL_METHOD* method, const TlsOptions& options) {
  SslContext made(SSL_CTX_new(method));
  SSL_CTX* const context = made.get();
  if (context == nullptr) return failed("TLS context");
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
  if (options.take_truncation) SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
  (void)SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(context, 1);  // one read(2) for header and body of a record
  const int version = version_number(options.version);
  if (SSL_CTX_set_min_proto_version(context, version) != 1 ||
      SSL_CTX_set_max_proto_version(context, version) != 1) {
    return failed("--tls-version " + options.version);
  }
  if (!set_ciphers(context, options.ciphers)) return failed("--ciphers " + options.ciphers);
  if (!options.groups.empty() && SSL_CTX_set1_groups_list(context, options.groups.c_str()) != 1) {
    return failed("--groups " + options.groups);
  }
  return made;
}

}  // namespace

base::Result<SslContext> client_context(const TlsOptions& options) {
  return make_context(TLS_client_method(), options);
}

base::Result<SslContext> server_context(const TlsOptions& options, const std::string& chain,
                                        const std::string& key) {
  auto context = make_context(TLS_server_method(), options);
  if (!context) return context;
  if (SSL_CTX_use_certificate_chain_file(context->get(), chain.c_str()) != 1) return failed(chain);
  if (SSL_CTX_use_PrivateKey_file(context->get(), key.c_str(), SSL_FILETYPE_PEM) != 1) return failed(key);
  return context;
}

Connection::Connection(base::Fd socket, Role role, SSL_CTX* context)
    : socket_(std::move(socket)), connecting_(role == Role::kClient) {
  net::set_no_delay(socket_.get());
  if (context == nullptr) return;
  ssl_.reset(SSL_new(context));
  SSL_set_fd(ssl_.get(), socket_.get());
  if (role == Role::kClient) {
    SSL_set_tlsext_host_name(ssl_.get(), "localhost");
    SSL_set_connect_state(ssl_.get());
  } else {
    SSL_set_accept_state(ssl_.get());
  }
}

Io Connection::establish() {
  if (connecting_) {
    const int errnum = net::pending_error(socket_.get());
    if (errnum != 0) {
      why_ = std::string("connect: ") + std::strerror(errnum);
      return Io::kFailed;
    }
    connecting_ = false;
  }
  if (ssl_) {
    ERR_clear_error();
    const int result = SSL_do_handshake(ssl_.get());
    if (result != 1) return after_ssl(result);
  }
  established_ = true;
  return Io::kDone;
}

Moved Connection::read(std::span<std::byte> into) {
  if (ssl_) {
    std::size_t size = 0;
    ERR_clear_error();
    const int result = SSL_read_ex(ssl_.get(), into.data(), into.size(), &size);
    received_ += size;
    return {result == 1 ? Io::kDone : after_ssl(result), size};
  }
  const ssize_t size = ::recv(socket_.get(), into.data(), into.size(), 0);
  if (size < 0) return {fail_with_errno(errno), 0};
  received_ += static_cast<std::size_t>(size);
  return {size == 0 ? Io::kEnd : Io::kDone, static_cast<std::size_t>(size)};
}

Moved Connection::write(Bytes data) {
  if (ssl_) {
    std::size_t size = 0;
    ERR_clear_error();
    const int result = SSL_write_ex(ssl_.get(), data.data(), data.size(), &size);
    sent_ += size;
    return {result == 1 ? Io::kDone : after_ssl(result), size};
  }
  const ssize_t size = ::send(socket_.get(), data.data(), data.size(), MSG_NOSIGNAL);
  if (size < 0) return {fail_with_errno(errno), 0};
  sent_ += static_cast<std::size_t>(size);
  return {Io::kDone, static_cast<std::size_t>(size)};
}

Io Connection::finish(bool fin) {
  if (ssl_) {
    ERR_clear_error();
    const int result = SSL_shutdown(ssl_.get());  // 0: ours is sent, the peer's has not come yet
    if (result < 0) return after_ssl(result);
  }
  if ((fin || !ssl_) && ::shutdown(socket_.get(), SHUT_WR) != 0) return fail_with_errno(errno);
  return Io::kDone;
}

void Connection::reset() {
  net::reset_on_close(socket_.get());
}

Io Connection::fail_with_errno(int errnum) {
  if (errnum == EAGAIN || errnum == EINTR) return Io::kAgain;
  // EPIPE: the reset of a connection whose peer had half-closed (tcp_reset() in net/ipv4/tcp_input.c), or one
  // that another call was told of already. ENOTCONN: shutdown() of a socket that was reset.
  if (errnum == ECONNRESET || errnum == EPIPE || errnum == ENOTCONN) return Io::kReset;
  why_ = std::strerror(errnum);
  return Io::kFailed;
}

Io Connection::after_ssl(int result) {
  const int errnum = errno;
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
      return Io::kAgain;
    case SSL_ERROR_ZERO_RETURN:
      return Io::kEnd;
    case SSL_ERROR_SYSCALL:
      return fail_with_errno(errnum);
    default:
      break;
  }
  const bool truncated = ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
  why_ = truncated ? "FIN without close_notify" : last_ssl_error();
  return Io::kFailed;
}

}  // namespace tlsplice::load
