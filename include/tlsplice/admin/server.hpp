// The admin socket: a Unix stream socket, its owner's alone (mode 0600). One command a connection:
//
//   {"command": "flows"}\n
//
// as one line of JSON; the answer is one JSON object and, for some commands, descriptors (SCM_RIGHTS), then
// the end. Who says nothing, or too much, is shown the door. Nothing here waits: the master calls watch()
// before its poll(2) and serve() after it.
#pragma once

#include <poll.h>

#include <functional>
#include <string>
#include <vector>

#include "tlsplice/base/clock.hpp"
#include "tlsplice/base/fd.hpp"
#include "tlsplice/base/result.hpp"

namespace tlsplice::admin {

struct Request {
  std::string command;
};

struct Reply {
  std::string json;  // one object
  std::vector<base::Fd> descriptors;

  /// {"error": what}
  static Reply error(std::string_view what);
};

class Server {
 public:
  // Connections at a time; more wait in the kernel's queue.
  static constexpr std::size_t kConnectionsMax = 32;
  static constexpr std::size_t kRequestMax = 64 * 1024;  // bytes
  // From the connection to the last byte of the answer.
  static constexpr base::Milliseconds kPatience{5000};

  /// Makes the socket, and its directory if that is missing (its parent must be there). A socket that nobody
  /// answers is replaced; kInvalid when another service answers.
  static base::Result<Server> open(const std::string& path);
  Server(Server&& other) noexcept = default;
  Server& operator=(Server&&) = delete;
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  /// Removes the socket's file.
  ~Server();

  void watch(std::vector<pollfd>& watched) const;
  using Answer = std::function<Reply(const Request&)>;
  void serve(base::Instant now, const Answer& answer);
  /// When serve() is to be called although nothing has happened; Instant::max() when never.
  base::Instant next_deadline() const;

  /// In a child: the file and the connections are its parent's.
  void abandon();

 private:
  struct Connection {
    base::Fd socket;
    base::Instant deadline;
    std::string request;
    bool answered = false;
    Reply reply;           // descriptors: those not sent yet
    std::size_t sent = 0;  // bytes of reply.json
  };

  Server(std::string path, base::Fd listener) : path_(std::move(path)), listener_(std::move(listener)) {}
  void accept_all(base::Instant now);
  static bool go_on(Connection& connection, const Answer& answer);
  static bool read_request(Connection& connection);
  static bool write_reply(Connection& connection);

  std::string path_;  // empty: not ours to remove
  base::Fd listener_;
  std::vector<Connection> connections_;
};

}  // namespace tlsplice::admin
