#include "tlsplice/tls/stream.hpp"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <cerrno>
#include <new>
#include <utility>

#include "alpn.hpp"
#include "bio.hpp"
#include "errors.hpp"
#include "tlsplice/tls/record_stream.hpp"
#include "traffic_keys.hpp"

namespace tlsplice::tls {
namespace {

// OpenSSL goes on reading inside one call while records come that are not data. A flood of KeyUpdates would
// hold the worker there for as long as it lasts: so each call has as many reads as a record can need, and
// then comes back.
constexpr int kReadsPerRecord = 2;
constexpr int kReadsPerHandshakeStep = 16;

}  // namespace

using net::Io;
using net::IoStatus;

std::unique_ptr<TlsStream> TlsStream::create(base::Fd socket, const Context& context, Role role,
                                             std::string_view alpn) {
  auto state = std::make_unique<SocketState>();
  state->fd = socket.get();
  SSL* ssl = SSL_new(context.get());
  BIO* bio = ssl != nullptr ? new_socket_bio(state.get()) : nullptr;
  if (bio != nullptr) SSL_set_bio(ssl, bio, bio);
  if (bio == nullptr || (!alpn.empty() && !offer_alpn(ssl, alpn))) {
    SSL_free(ssl);
    take_error();
    return nullptr;
  }
  SSL_set_app_data(ssl, state.get());
  auto capture = std::make_unique<KeyCapture>();
  attach_capture(ssl, capture.get());
  role == Role::kServer ? SSL_set_accept_state(ssl) : SSL_set_connect_state(ssl);
  return std::unique_ptr<TlsStream>(
      new TlsStream(std::move(socket), std::move(state), std::move(capture), ssl));
}

TlsStream::TlsStream(base::Fd socket, std::unique_ptr<SocketState> state, std::unique_ptr<KeyCapture> capture,
                     ssl_st* ssl)
    : socket_(std::move(socket)), state_(std::move(state)), capture_(std::move(capture)), ssl_(ssl) {}
TlsStream::~TlsStream() = default;

void TlsStream::Free::operator()(ssl_st* ssl) const {
  SSL_free(ssl);
}

const char* TlsStream::protocol() const {
  return SSL_get_version(ssl_.get());
}
const char* TlsStream::cipher() const {
  return SSL_get_cipher_name(ssl_.get());
}
const char* TlsStream::group() const {
  const auto id = static_cast<int>(SSL_get_negotiated_group(ssl_.get()));
  const char* name = id == 0 ? nullptr : SSL_group_to_name(ssl_.get(), id);
  return name != nullptr ? name : "-";
}
const char* TlsStream::alpn() const {
  return agreed_alpn(ssl_.get());
}
std::string_view TlsStream::server_name() const {
  return state_->server_name;
}
std::string_view TlsStream::alpn_offer() const {
  return state_->alpn_offer;
}

bool TlsStream::valid_hello() const {
  return state_->valid_hello;
}
net::Notes TlsStream::notes() const {
  return {.trouble = broken_ ? failure_ : std::string_view(), .incoming_alert = state_->incoming_alert};
}

TlsStream::Keys TlsStream::traffic_keys() const {
  return derive_traffic_keys(ssl_.get(), *capture_);
}

base::Fd TlsStream::release_socket() && {
  SSL_set_quiet_shutdown(ssl_.get(), 1);
  return std::move(socket_);
}

std::unique_ptr<net::Stream> TlsStream::settle(std::unique_ptr<TlsStream> stream, const Keys& keys,
                                               std::uint64_t records_per_key) {
  auto own = keys ? RecordStream::create(stream->socket_, *keys, records_per_key) : nullptr;
  if (own) return own;
  stream->read_ahead();
  return stream;
}

void TlsStream::read_ahead() {
  SSL_set_read_ahead(ssl_.get(), 1);
}

/// The one place that knows what SSL_get_error(3) means. To be called right after the failed call.
IoStatus TlsStream::judge(int returned) {
  const int verdict = SSL_get_error(ssl_.get(), returned);
  if (verdict == SSL_ERROR_WANT_READ) return IoStatus::kWantRead;
  if (verdict == SSL_ERROR_WANT_WRITE) return IoStatus::kWantWrite;
  if (verdict == SSL_ERROR_ZERO_RETURN && !state_->end) return IoStatus::kEnd;
  const bool out_of_memory = ERR_GET_REASON(ERR_peek_error()) == ERR_R_MALLOC_FAILURE ||
                             ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_MALLOC_FAILURE;
  LibraryError error = take_library_error();
  failure_ = std::move(error.text);
  negotiation_error_ = error.reason;
  if (out_of_memory) {
    broken_ = true;
    return IoStatus::kExhausted;
  }
  if (state_->error != 0) {
    broken_ = true;
    return net::status_of(state_->error, IoStatus::kWantRead);
  }
  // With SSL_OP_IGNORE_UNEXPECTED_EOF a bare FIN looks like close_notify, but only the FIN makes recv(2)
  // return 0 first. Our own direction is still sound.
  if (state_->end) return IoStatus::kTruncated;
  broken_ = true;
  return IoStatus::kBroken;
}

Io TlsStream::handshake(const std::function<void()>& between) {
  ERR_clear_error();
  state_->reads_left = kReadsPerHandshakeStep;
  state_->between = between ? &between : nullptr;
  const KeyWatch watch(&capture_->keys);
  const int returned = SSL_do_handshake(ssl_.get());
  state_->between = nullptr;
  if (returned == 1) return {IoStatus::kDone, 0};
  return {judge(returned), 0};
}

Io TlsStream::read(std::span<std::byte> into) {
  if (held_) return {*std::exchange(held_, std::nullopt), 0};
  if (broken_) return {IoStatus::kBroken, 0};
  std::size_t filled = 0;
  while (filled < into.size()) {
    ERR_clear_error();
    state_->reads_left = kReadsPerRecord;
    std::size_t got = 0;
    const int returned = SSL_read_ex(ssl_.get(), into.data() + filled, into.size() - filled, &got);
    if (returned != 1) {
      const IoStatus status = judge(returned);
      if (filled == 0) return {status, 0};
      // An end or an error is told at the next read; nothing on the socket would wake anybody for it any
      // more.
      if (status != IoStatus::kWantRead) held_ = status;
      break;
    }
    filled += got;
    if (drained()) break;
  }
  return {IoStatus::kDone, filled};
}

bool TlsStream::drained() const {
  return !held_ && state_->drained && SSL_has_pending(ssl_.get()) == 0;
}

Io TlsStream::write(std::span<const std::byte> from) {
  if (broken_) return {IoStatus::kBroken, 0};
  ERR_clear_error();
  // One record a call (SSL_MODE_ENABLE_PARTIAL_WRITE); the caller comes back with what is left.
  state_->more = from.size() > SSL3_RT_MAX_PLAIN_LENGTH;
  std::size_t put = 0;
  const int returned = SSL_write_ex(ssl_.get(), from.data(), from.size(), &put);
  if (returned != 1) return {judge(returned), 0};
  return {IoStatus::kDone, put};
}

Io TlsStream::end_write() {
  if (!broken_ && !close_notify_sent_) {
    ERR_clear_error();
    state_->more = true;  // the FIN, in the same segment
    const int returned =
        SSL_shutdown(ssl_.get());  // 0: sent, the peer's is still to come; never called again
    if (returned < 0) {
      const IoStatus status = judge(returned);
      if (status == IoStatus::kWantRead || status == IoStatus::kWantWrite) return {IoStatus::kWantWrite, 0};
      return {status, 0};
    }
    close_notify_sent_ = true;
  }
  if (::shutdown(fd(), SHUT_WR) != 0) return {net::status_of(errno, IoStatus::kWantWrite), 0};
  return {IoStatus::kDone, 0};
}

}  // namespace tlsplice::tls
