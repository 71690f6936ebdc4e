#include "tlsplice/admin/server.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "descriptors.hpp"
#include "path.hpp"

namespace tlsplice::admin {

using base::Error;
using base::Instant;
using base::Result;

namespace {

constexpr mode_t kDirectoryMode = 0755;
constexpr mode_t kNotTheirs = 0177;  // umask: rw for the owner

/// Nothing, when a socket can be bound there.
Result<void> expect_nobody(const std::string& path, const sockaddr_un& address) {
  const base::Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe) return base::fail(Error::system("open a socket", errno));
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ||
      errno == EAGAIN) {
    return base::fail(Error::invalid(fmt::format("another service answers on {}", path)));
  }
  if (errno == ENOENT) return {};
  if (errno != ECONNREFUSED) return base::fail(Error::system(fmt::format("look at {}", path), errno));
  struct stat status{};
  if (::lstat(path.c_str(), &status) == 0 && !S_ISSOCK(status.st_mode))
    return base::fail(Error::invalid(fmt::format("{} is there and no socket", path)));
  ::unlink(path.c_str());
  return {};
}

/// What was asked, or the answer when it cannot be understood.
std::expected<Request, Reply> parse(const std::string& text) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("command") || !json["command"].is_string())
    return std::unexpected(Reply::error(R"(expected a line of JSON such as {"command": "flows"})"));
  return Request{json["command"].get<std::string>()};
}

}  // namespace

Reply Reply::error(std::string_view what) {
  return {
      .json = nlohmann::json{{"error", what}}.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace),
      .descriptors = {}};
}

Result<Server> Server::open(const std::string& path) {
  const auto address = address_of(path);
  if (!address) return base::fail(address.error());
  const std::string directory = std::filesystem::path(path).parent_path();
  if (::mkdir(directory.c_str(), kDirectoryMode) != 0 && errno != EEXIST)
    return base::fail(Error::system(fmt::format("make the directory {}", directory), errno));
  if (auto nobody = expect_nobody(path, *address); !nobody) return base::fail(std::move(nobody.error()));
  base::Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener) return base::fail(Error::system("open a socket", errno));
  const mode_t before = ::umask(kNotTheirs);
  const int bound =
      ::bind(listener.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) == 0 ? 0 : errno;
  ::umask(before);
  if (bound != 0) return base::fail(Error::system(fmt::format("bind {}", path), bound));
  Server server(path, std::move(listener));
  if (::listen(server.listener_.get(), kConnectionsMax) != 0)
    return base::fail(Error::system(fmt::format("listen on {}", path), errno));
  return server;
}

Server::~Server() {
  if (listener_ && !path_.empty()) ::unlink(path_.c_str());
}

void Server::abandon() {
  path_.clear();
  listener_.reset();
  connections_.clear();
}

void Server::watch(std::vector<pollfd>& watched) const {
  if (connections_.size() < kConnectionsMax)
    watched.push_back({.fd = listener_.get(), .events = POLLIN, .revents = 0});
  for (const Connection& connection : connections_) {
    const short events = connection.answered ? POLLOUT : POLLIN;
    watched.push_back({.fd = connection.socket.get(), .events = events, .revents = 0});
  }
}

Instant Server::next_deadline() const {
  Instant next = Instant::max();
  for (const Connection& connection : connections_) next = std::min(next, connection.deadline);
  return next;
}

void Server::serve(Instant now, const Answer& answer) {
  accept_all(now);
  std::erase_if(connections_, [&](Connection& connection) {
    return now >= connection.deadline || !go_on(connection, answer);
  });
}

void Server::accept_all(Instant now) {
  while (connections_.size() < kConnectionsMax) {
    base::Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) return;
    Connection& connection = connections_.emplace_back();
    connection.socket = std::move(socket);
    connection.deadline = now + kPatience;
  }
}

/// False when the connection is done with.
bool Server::go_on(Connection& connection, const Answer& answer) {
  if (!connection.answered) {
    if (!read_request(connection)) return false;
    const auto end = connection.request.find('\n');
    if (end == std::string::npos && connection.request.size() <= kRequestMax) return true;
    if (end == std::string::npos) {
      connection.reply = Reply::error("the command is longer than 64 KiB");
    } else {
      auto request = parse(connection.request.substr(0, end));
      connection.reply = request ? answer(*request) : std::move(request.error());
    }
    connection.reply.json += '\n';
    connection.answered = true;
  }
  return write_reply(connection);
}

/// False when the peer has gone.
bool Server::read_request(Connection& connection) {
  char chunk[4096];
  while (connection.request.size() <= kRequestMax) {
    const ssize_t received = ::recv(connection.socket.get(), chunk, sizeof chunk, 0);
    if (received < 0) return errno == EAGAIN || errno == EINTR;
    if (received == 0) return connection.request.find('\n') != std::string::npos;
    connection.request.append(chunk, static_cast<std::size_t>(received));
    if (connection.request.find('\n') != std::string::npos) return true;
  }
  // Unread bytes would turn the answer into a reset.
  for (int i = 0; i < 64 && ::recv(connection.socket.get(), chunk, sizeof chunk, 0) > 0; ++i) continue;
  return true;
}

/// False when all is written, or nobody reads.
bool Server::write_reply(Connection& connection) {
  std::vector<base::Fd>& descriptors = connection.reply.descriptors;
  while (connection.sent < connection.reply.json.size()) {
    // The descriptors go first, a message full of them with a byte each.
    const std::size_t with = std::min(descriptors.size(), kDescriptorsPerMessage);
    std::span<const char> bytes = std::span(connection.reply.json).subspan(connection.sent);
    if (descriptors.size() > with) bytes = bytes.first(1);
    const ssize_t sent = send_with(connection.socket.get(), bytes, std::span(descriptors).first(with));
    if (sent < 0) return sent == -EAGAIN;
    descriptors.erase(descriptors.begin(), descriptors.begin() + static_cast<std::ptrdiff_t>(with));
    connection.sent += static_cast<std::size_t>(sent);
  }
  return false;
}

}  // namespace tlsplice::admin
