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
std::expected<Request, Reply> parse(std::string_view text) {
  bool too_deep = false;
  // Refused while it is read: what is nested without end is walked by recursion later.
  const auto limit = [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    too_deep = too_deep || depth > Server::kNestingMax;
    return !too_deep;
  };
  const auto json = nlohmann::json::parse(text, limit, false);
  if (too_deep) return std::unexpected(Reply::error("the command is nested too deeply"));
  if (!json.is_object() || !json.contains("command") || !json["command"].is_string())
    return std::unexpected(Reply::error(R"(expected a line of JSON such as {"command": "flows"})"));
  Request request{.command = json["command"].get<std::string>()};
  if (const auto arguments = json.find("arguments"); arguments != json.end()) {
    if (!arguments->is_object())
      return std::unexpected(Reply::error(R"(expected a JSON object as "arguments")"));
    request.arguments = arguments->dump();
  }
  return request;
}

/// Whether the peer has closed its end. One that only says no more still waits for its answer.
bool has_gone(const base::Fd& socket) {
  pollfd peer{.fd = socket.get(), .events = 0, .revents = 0};
  return ::poll(&peer, 1, 0) > 0;
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
    // One that waits is watched for its end, which needs no asking for.
    const int events = connection.step == Step::kReading   ? POLLIN
                       : connection.step == Step::kWriting ? POLLOUT
                                                           : 0;
    watched.push_back({.fd = connection.socket.get(), .events = static_cast<short>(events), .revents = 0});
  }
}

Instant Server::next_deadline() const {
  Instant next = Instant::max();
  for (const Connection& connection : connections_) next = std::min(next, connection.deadline);
  return next;
}

void Server::serve(Instant now, const Answer& answer) {
  accept_all(now);
  // Marked first and erased then: complete() may look for any of them while one is being answered.
  for (Connection& connection : connections_) connection.done = !go_on(connection, now, answer);
  std::erase_if(connections_, [](const Connection& connection) { return connection.done; });
}

void Server::complete(std::uint64_t ticket, Reply reply) {
  for (Connection& connection : connections_) {
    if (connection.ticket == ticket && connection.step == Step::kWaiting)
      return give(connection, std::move(reply), base::now());
  }
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
bool Server::go_on(Connection& connection, Instant now, const Answer& answer) {
  if (connection.step == Step::kReading) {
    if (now >= connection.deadline || !read_request(connection)) return false;
    ask(connection, now, answer);
  }
  if (connection.step == Step::kWaiting) {
    if (has_gone(connection.socket)) return false;
    if (now < connection.deadline) return true;
    give(connection,
         Reply::error(fmt::format("not done within {} s, and still under way; ask again later what became "
                                  "of it",
                                  std::chrono::duration_cast<std::chrono::seconds>(kWorkPatience).count())),
         now);
  }
  if (connection.step == Step::kReading) return true;
  return now < connection.deadline && write_reply(connection);
}

/// Hands a command on once it is there as a whole.
void Server::ask(Connection& connection, Instant now, const Answer& answer) {
  const auto end = connection.request.find('\n');
  if (end == std::string::npos && connection.request.size() <= kRequestMax) return;
  if (end == std::string::npos)
    return give(connection, Reply::error("the command is longer than 64 KiB"), now);
  auto request = parse(std::string_view(connection.request).substr(0, end));
  if (!request) return give(connection, std::move(request.error()), now);
  connection.step = Step::kWaiting;
  connection.deadline = now + kWorkPatience;
  connection.ticket = request->ticket = ++last_ticket_;
  if (auto reply = answer(*request)) give(connection, *std::move(reply), now);
}

void Server::give(Connection& connection, Reply reply, Instant now) {
  connection.reply = std::move(reply);
  connection.reply.json += '\n';
  connection.step = Step::kWriting;
  connection.deadline = now + kPatience;
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
