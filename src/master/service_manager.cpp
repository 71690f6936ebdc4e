#include "service_manager.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>

#include "tlsplice/net/socket.hpp"

namespace tlsplice::master {
namespace {

constexpr int kFirstGiven = 3;  // SD_LISTEN_FDS_START

/// The variable's value, and it is gone.
std::string take_variable(const char* name) {
  const char* const value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): one thread
  std::string text = value != nullptr ? value : "";
  ::unsetenv(name);  // NOLINT(concurrency-mt-unsafe)
  return text;
}

std::optional<std::uint64_t> number_of(const std::string& text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

/// Variables that name a process are for that one only.
bool meant_for_us(const std::string& process) {
  return number_of(process) == static_cast<std::uint64_t>(::getpid());
}

bool is_listening_stream(int socket) {
  int type = 0;
  int listening = 0;
  socklen_t size = sizeof type;
  if (::getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM) return false;
  size = sizeof listening;
  if (::getsockopt(socket, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 || listening == 0) return false;
  const int family = net::local_address(socket).family();
  return family == AF_INET || family == AF_INET6;
}

}  // namespace

// ---- ServiceManager

ServiceManager::ServiceManager() : address_(take_variable("NOTIFY_SOCKET")) {
  const auto watchdog_us = number_of(take_variable("WATCHDOG_USEC"));
  const std::string watched = take_variable("WATCHDOG_PID");
  const bool absolute = address_.starts_with('/') || address_.starts_with('@');
  if (!absolute || address_.size() >= sizeof(sockaddr_un::sun_path)) return;
  socket_ = base::Fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!watchdog_us || *watchdog_us == 0 || !(watched.empty() || meant_for_us(watched))) return;
  // Twice as often as is asked for, as sd_watchdog_enabled(3) advises.
  between_signs_ = base::Milliseconds(std::max<std::uint64_t>(*watchdog_us / 2000, 1));
  next_sign_ = base::now();
}

void ServiceManager::leave() const {
  if (!socket_) return;
  ::setenv("NOTIFY_SOCKET", address_.c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
  if (next_sign_ == base::Instant::max()) return;
  const std::string watchdog_us = std::to_string(between_signs_.count() * 2000);
  ::setenv("WATCHDOG_USEC", watchdog_us.c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
}

void ServiceManager::tell(const std::string& text) {
  if (!socket_) return;
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  address_.copy(to.sun_path, sizeof to.sun_path - 1);
  auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address_.size());
  if (address_.front() == '@') to.sun_path[0] = '\0';  // an abstract one
  if (address_.front() == '/') ++size;
  (void)::sendto(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&to),
                 size);
}

void ServiceManager::ready(const std::string& status) {
  tell(fmt::format("READY=1\nMAINPID={}\nSTATUS={}", ::getpid(), status));
}

void ServiceManager::reloading() {
  const auto now_us = std::chrono::duration_cast<std::chrono::microseconds>(base::now().time_since_epoch());
  tell(fmt::format("RELOADING=1\nMONOTONIC_USEC={}", now_us.count()));
}

void ServiceManager::stopping() {
  tell("STOPPING=1\nSTATUS=draining");
}

void ServiceManager::keep_alive(base::Instant now) {
  if (now < next_sign_) return;
  next_sign_ = now + between_signs_;
  tell("WATCHDOG=1");
}

// ---- GivenSockets

GivenSockets GivenSockets::of_socket_unit() {
  GivenSockets given;
  const bool ours = meant_for_us(take_variable("LISTEN_PID"));
  const auto count = number_of(take_variable("LISTEN_FDS"));
  (void)take_variable("LISTEN_FDNAMES");
  if (!ours || !count) return given;
  for (int i = 0; i < static_cast<int>(std::min<std::uint64_t>(*count, 1024)); ++i) {
    base::Fd socket(kFirstGiven + i);
    if (is_listening_stream(socket.get())) given.add(std::move(socket));
  }
  return given;
}

void GivenSockets::add(base::Fd socket) {
  const int fd = socket.get();
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  sockets_.push_back({net::local_address(fd), std::move(socket)});
}

bool GivenSockets::has(const net::Address& address) const {
  return std::ranges::find(sockets_, address, &Given::address) != sockets_.end();
}

base::Fd GivenSockets::take(const net::Address& address) {
  const auto found = std::ranges::find(sockets_, address, &Given::address);
  if (found == sockets_.end()) return {};
  base::Fd socket = std::move(found->socket);
  sockets_.erase(found);
  return socket;
}

std::vector<net::Address> GivenSockets::left() const {
  std::vector<net::Address> addresses;
  for (const Given& given : sockets_) addresses.push_back(given.address);
  return addresses;
}

}  // namespace tlsplice::master
