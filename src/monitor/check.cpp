// libevent's own HTTP client is not used: it opens its connections itself, so nothing can be said before the
// TLS hello, and a failed connection leaves no reason behind.
#include "check.hpp"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "tlsplice/net/socket.hpp"
#include "tlsplice/policy/units.hpp"
#include "tlsplice/tls/foreign.hpp"

namespace tlsplice::monitor {
namespace {

using policy::CheckProtocol;

// Of an answer's content, so that the target can end the connection first; more of it meets a reset.
constexpr std::size_t kDrainedMax = 256 * 1024;
constexpr std::size_t kReadAtOnce = 16 * 1024;

/// What connect(2) says when the shortage is ours.
bool is_shortage(int error) {
  return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS ||
         error == EADDRNOTAVAIL || error == EAGAIN;
}

std::string words(const char* doing, int error) {
  return base::Error::system(doing, error).text();
}

}  // namespace

Check::Check(event_base* loop, const Question& question, const net::Address& target, Done done)
    : loop_(loop),
      question_(question),
      target_(target),
      done_(std::move(done)),
      deadline_(
          loop, -1, 0, [](evutil_socket_t, short, void* self) { static_cast<Check*>(self)->expire(); },
          this) {}

void Check::start() {
  expire();
  head_ = {};
  drained_ = 0;
  stage_ = Stage::kConnecting;
  auto socket = net::stream_socket(target_);
  if (!socket) return answer(std::nullopt);
  socket_ = std::move(*socket);
  const int error = ::connect(socket_.get(), target_.data(), target_.size()) == 0 ? 0 : errno;
  if (is_shortage(error)) return answer(std::nullopt);
  if (error != 0 && error != EINPROGRESS) return fail(targets::kFailedHealthChecks, words("connect", error));
  deadline_.add(question_.settings.timeout);
  writable_.emplace(
      loop_, socket_.get(), EV_WRITE,
      [](evutil_socket_t, short, void* self) { static_cast<Check*>(self)->connected(); }, this);
  writable_->add();
}

void Check::connected() {
  const int error = net::pending_error(socket_.get());
  if (error != 0) return fail(targets::kFailedHealthChecks, words("connect", error));
  if (!introduce()) return;
  if (question_.settings.protocol != CheckProtocol::kTcp) return ask();
  answer(Answer{});
  close();
}

/// A fresh connection takes a hundred bytes at once.
bool Check::introduce() {
  const auto& header = question_.header;
  if (header.empty()) return true;
  const ssize_t sent = ::send(socket_.get(), header.data(), header.size(), MSG_NOSIGNAL);
  if (sent == std::ssize(header)) return true;
  fail(targets::kFailedHealthChecks, words("send the proxy protocol header", sent < 0 ? errno : EAGAIN));
  return false;
}

void Check::ask() {
  const bool tls = question_.settings.protocol == CheckProtocol::kHttps;
  const int options = BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS;
  const std::string asked = request();
  writable_.reset();
  if (tls) {
    ssl_st* const connection = tls::new_connection(*question_.context);
    if (connection != nullptr) {
      stream_ = bufferevent_openssl_socket_new(loop_, socket_.get(), connection, BUFFEREVENT_SSL_CONNECTING,
                                               options);
    }
  } else {
    stream_ = bufferevent_socket_new(loop_, socket_.get(), options);
  }
  if (stream_ == nullptr) return answer(std::nullopt);
  (void)socket_.release();  // it is the stream's now
  stage_ = tls ? Stage::kHandshake : Stage::kAsking;
  bufferevent_setcb(
      stream_, [](bufferevent*, void* self) { static_cast<Check*>(self)->read(); }, nullptr,
      [](bufferevent*, short what, void* self) { static_cast<Check*>(self)->ended(what); }, this);
  bufferevent_setwatermark(stream_, EV_READ, 0, kReadAtOnce);
  bufferevent_write(stream_, asked.data(), asked.size());
  bufferevent_enable(stream_, EV_READ | EV_WRITE);
}

/// The host is ours, as the load balancer has it (spec: nlb-facts, section 10).
std::string Check::request() const {
  std::string host = net::local_address(socket_.get()).text();
  host.resize(host.rfind(':'));
  return fmt::format(
      "GET {} HTTP/1.1\r\nHost: {}:{}\r\nUser-Agent: ELB-HealthChecker/2.0\r\nAccept: */*\r\n"
      "Connection: close\r\n\r\n",
      question_.settings.path, host, question_.listener_port);
}

void Check::read() {
  evbuffer* const input = bufferevent_get_input(stream_);
  const std::size_t size = evbuffer_get_length(input);
  if (stage_ == Stage::kAnswered) {
    drained_ += size;
    evbuffer_drain(input, size);
    if (drained_ > kDrainedMax) close();
    return;
  }
  const unsigned char* const bytes = evbuffer_pullup(input, -1);
  const auto found = head_.read({reinterpret_cast<const char*>(bytes), size});
  evbuffer_drain(input, size);
  if (found == ResponseHead::Found::kMore) return;
  if (found == ResponseHead::Found::kBroken)
    return fail(targets::kFailedHealthChecks, fmt::format("no HTTP response: {}", head_.trouble()));
  const auto& codes = question_.settings.matcher;
  const bool matches = std::ranges::any_of(codes, [&](const policy::CodeRange& range) {
    return range.first <= head_.status() && head_.status() <= range.last;
  });
  if (matches) return answer(Answer{});
  answer(Answer{{targets::kResponseCodeMismatch},
                fmt::format("status {}, expected {}", head_.status(), policy::to_string(codes))});
}

void Check::ended(short what) {
  if ((what & BEV_EVENT_CONNECTED) != 0) {
    stage_ = Stage::kAsking;
    return;
  }
  if (stage_ == Stage::kAnswered) return close();
  const int error = errno;
  const unsigned long tls_error = question_.context == nullptr ? 0 : bufferevent_get_openssl_error(stream_);
  const char* const doing = stage_ == Stage::kHandshake ? "TLS handshake" : "read the response";
  if (tls_error != 0)
    return fail(targets::kFailedHealthChecks, fmt::format("{}: {}", doing, tls::explain(tls_error)));
  if ((what & BEV_EVENT_ERROR) != 0 && error != 0)
    return fail(targets::kFailedHealthChecks, words(doing, error));
  fail(targets::kFailedHealthChecks, fmt::format("{}: the target closed the connection", doing));
}

void Check::expire() {
  if (stage_ != Stage::kIdle && stage_ != Stage::kAnswered) {
    const char* const missing = stage_ == Stage::kConnecting  ? "no connection"
                                : stage_ == Stage::kHandshake ? "no TLS handshake"
                                                              : "no response";
    return fail(targets::kTimeout,
                fmt::format("{} within {}", missing, policy::duration_text(question_.settings.timeout)));
  }
  close();
}

void Check::fail(std::string_view reason, std::string detail) {
  answer(Answer{{reason}, std::move(detail)});
  close();
}

void Check::answer(const std::optional<Answer>& answer) {
  stage_ = Stage::kAnswered;
  if (!answer) close();
  done_(answer);
}

void Check::close() {
  stage_ = Stage::kIdle;
  deadline_.remove();
  writable_.reset();
  socket_.reset();
  if (stream_ == nullptr) return;
  if (ssl_st* const connection = bufferevent_openssl_get_ssl(stream_)) tls::say_goodbye(connection);
  bufferevent_free(stream_);
  stream_ = nullptr;
}

}  // namespace tlsplice::monitor
