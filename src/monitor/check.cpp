#include "check.hpp"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "tlsplice/net/socket.hpp"
#include "tlsplice/policy/units.hpp"

namespace tlsplice::monitor {
namespace {

using policy::CheckProtocol;

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
  close();
  answer(Answer{});
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

/// The host is ours, as the load balancer has it (spec: nlb-facts, section 10).
void Check::ask() {
  std::string host = net::local_address(socket_.get()).text();
  host.resize(host.rfind(':'));
  stage_ = Stage::kAsking;
  writable_.reset();
  exchange_ = Exchange::begin(
      *question_.http, std::move(socket_),
      {.peer = target_,
       .path = question_.settings.path,
       .host = fmt::format("{}:{}", host, question_.listener_port),
       .user_agent = "ELB-HealthChecker/2.0",
       .context = question_.context},
      [](void* self) { static_cast<Check*>(self)->heard(); }, this);
  if (exchange_ == nullptr) answer(std::nullopt);
}

/// The status is the answer; what follows it is only waited for.
void Check::heard() {
  const bool asking = stage_ == Stage::kAsking;
  const std::optional<unsigned> status = exchange_->status();
  const std::string trouble = exchange_->trouble();
  if (exchange_->over()) close();
  if (!asking) return;
  status ? judge(*status) : fail(targets::kFailedHealthChecks, trouble);
}

void Check::judge(unsigned status) {
  const auto& codes = question_.settings.matcher;
  const bool matches = std::ranges::any_of(
      codes, [&](const policy::CodeRange& range) { return range.first <= status && status <= range.last; });
  if (matches) return answer(Answer{});
  answer(Answer{{targets::kResponseCodeMismatch},
                fmt::format("status {}, expected {}", status, policy::to_string(codes))});
}

void Check::expire() {
  if (stage_ != Stage::kIdle && stage_ != Stage::kAnswered) {
    const char* const missing = stage_ == Stage::kConnecting ? "no connection"
                                : exchange_->in_handshake()  ? "no TLS handshake"
                                                             : "no response";
    return fail(targets::kTimeout,
                fmt::format("{} within {}", missing, policy::duration_text(question_.settings.timeout)));
  }
  close();
}

void Check::fail(std::string_view reason, std::string detail) {
  close();
  answer(Answer{{reason}, std::move(detail)});
}

/// Last: whoever is told may start the next check.
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
  exchange_.reset();
}

}  // namespace tlsplice::monitor
