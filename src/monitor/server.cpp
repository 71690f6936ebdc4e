#include "server.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "tlsplice/base/expect.hpp"

namespace tlsplice::monitor {
namespace {

using base::Instant;
using base::Milliseconds;

// Those that are closed stay with libmicrohttpd until its next round. At this many it accepts no more.
constexpr unsigned kConnectionsWithClosing = 2 * Server::kConnectionsMax;

constexpr char kText[] = "text/plain; charset=utf-8";

MHD_Result send(MHD_Connection* connection, unsigned status, const char* content_type, std::string body) {
  MHD_Response* response = MHD_create_response_from_buffer(body.size(), body.data(), MHD_RESPMEM_MUST_COPY);
  if (response == nullptr) return MHD_NO;
  MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
  MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
  if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
    MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
  const MHD_Result queued = MHD_queue_response(connection, status, response);
  MHD_destroy_response(response);  // ours: the connection holds its own
  return queued;
}

/// Content that comes with a request is read by nobody.
bool has_content(MHD_Connection* connection) {
  const auto header = [&](const char* name) {
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
  };
  const char* length = header(MHD_HTTP_HEADER_CONTENT_LENGTH);
  return header(MHD_HTTP_HEADER_TRANSFER_ENCODING) != nullptr ||
         (length != nullptr && std::strcmp(length, "0") != 0);
}

}  // namespace

struct Server::Connection : base::ListNode<Server::Connection> {
  int socket = -1;  // libmicrohttpd's
  Instant since;    // its start, or the end of the request before
};

Server::Server(std::vector<Page> pages, Instant now) : pages_(std::move(pages)), now_(now) {}

base::Result<void> Server::start(base::Fd listening) {
  daemon_ =
      MHD_start_daemon(MHD_USE_EPOLL, 0, nullptr, nullptr, &Server::answer, this, MHD_OPTION_LISTEN_SOCKET,
                       listening.get(), MHD_OPTION_CONNECTION_LIMIT, kConnectionsWithClosing,
                       MHD_OPTION_CONNECTION_MEMORY_LIMIT, kConnectionMemory, MHD_OPTION_STRICT_FOR_CLIENT, 1,
                       MHD_OPTION_NOTIFY_CONNECTION, &Server::note_connection, this,
                       MHD_OPTION_NOTIFY_COMPLETED, &Server::note_completed, this, MHD_OPTION_END);
  if (daemon_ == nullptr) return base::fail(base::Error::system("start the HTTP server", errno));
  (void)listening.release();  // it is the daemon's now
  return {};
}

Server::~Server() {
  if (daemon_ != nullptr) MHD_stop_daemon(daemon_);
}

int Server::descriptor() const {
  return MHD_get_daemon_info(daemon_, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
}

void Server::run(Instant now) {
  now_ = now;
  while (!connections_.empty() && connections_.front().since + kRequestTime <= now)
    send_away(connections_.front());
  MHD_run(daemon_);
}

Milliseconds Server::until_next(Instant now) {
  MHD_UNSIGNED_LONG_LONG wait_ms = 0;
  Milliseconds wait = kRequestTime;
  if (MHD_get_timeout(daemon_, &wait_ms) == MHD_YES)
    wait = std::min(wait, Milliseconds(std::min<std::uint64_t>(wait_ms, INT32_MAX)));
  if (!connections_.empty()) {
    wait = std::min(wait, std::chrono::ceil<Milliseconds>(connections_.front().since + kRequestTime - now));
  }
  return std::max(wait, Milliseconds(0));
}

// ---- Connections

void Server::note_connection(void* self, MHD_Connection* connection, void** context,
                             MHD_ConnectionNotificationCode what) {
  Server& server = *static_cast<Server*>(self);
  if (what == MHD_CONNECTION_NOTIFY_STARTED) {
    auto* const fresh = new Connection;
    fresh->socket = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    *context = fresh;
    server.begin(*fresh);
    if (server.open_ > kConnectionsMax) server.send_away(server.connections_.front());
    return;
  }
  auto* const gone = static_cast<Connection*>(std::exchange(*context, nullptr));
  if (gone->linked()) --server.open_;
  gone->unlink();
  delete gone;
}

void Server::note_completed(void* self, MHD_Connection* connection, void** /*state*/,
                            MHD_RequestTerminationCode how) {
  if (how != MHD_REQUEST_TERMINATED_COMPLETED_OK) return;
  Server& server = *static_cast<Server*>(self);
  auto* const its = static_cast<Connection*>(
      MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context);
  if (its == nullptr || !its->linked()) return;
  its->unlink();
  --server.open_;
  server.begin(*its);
}

void Server::begin(Connection& connection) {
  connection.since = now_;
  connections_.push_back(connection);
  ++open_;
}

/// libmicrohttpd finds the socket shut in its next round and lets go of it.
void Server::send_away(Connection& connection) {
  ::shutdown(connection.socket, SHUT_RDWR);
  connection.unlink();
  --open_;
}

// ---- Requests

MHD_Result Server::answer(void* self, MHD_Connection* connection, const char* path, const char* method,
                          const char* /*version*/, const char* /*upload*/,
                          std::size_t* upload_size,  // NOLINT(readability-non-const-parameter): MHD's type
                          void** state) {
  const bool first_call = *state == nullptr;
  if (first_call) {  // before the request's content: an answer now means that none is read
    *state = self;
    if (std::strcmp(method, MHD_HTTP_METHOD_GET) != 0 && std::strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
      return send(connection, MHD_HTTP_METHOD_NOT_ALLOWED, kText, "only GET and HEAD\n");
    if (has_content(connection)) return send(connection, MHD_HTTP_BAD_REQUEST, kText, "content with a GET\n");
    return MHD_YES;
  }
  if (*upload_size != 0) return MHD_NO;
  return static_cast<const Server*>(self)->answer(connection, path);
}

MHD_Result Server::answer(MHD_Connection* connection, const char* path) const {
  const auto page = std::ranges::find(pages_, path, &Page::path);
  if (page == pages_.end())
    return send(connection, MHD_HTTP_NOT_FOUND, kText, "no such page; / lists them\n");
  return send(connection, MHD_HTTP_OK, page->content_type, page->make());
}

}  // namespace tlsplice::monitor
