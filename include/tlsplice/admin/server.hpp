// The admin socket: a Unix stream socket, its owner's alone (mode 0600). One command a connection:
//
//   {"command": "flows"}\n
//   {"command": "modify-listener", "arguments": {"listener": "web"}}\n
//
// as one line of JSON; the answer is one JSON object and, for some commands, descriptors (SCM_RIGHTS), then
// the end. It may come later: until then the connection waits. Who says nothing, or too much, is shown the
// door. Nothing here waits: the master calls watch() before its poll(2) and serve() after it.
#pragma once

#include <poll.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tlsplice/base/clock.hpp"
#include "tlsplice/base/fd.hpp"
#include "tlsplice/base/result.hpp"

namespace tlsplice::admin {

struct Request {
  std::string command;
  std::string arguments = "{}";  // a JSON object, nested kNestingMax deep at most
  std::uint64_t ticket = 0;      // for complete(); no other request has it
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
  static constexpr int kNestingMax = 16;                 // of the command's JSON
  // From the connection to the whole command, and from the answer to its last byte.
  static constexpr base::Milliseconds kPatience{5000};
  // From a command to an answer that comes later; then the answer is that it is not there yet.
  static constexpr base::Milliseconds kWorkPatience{120'000};

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
  /// Nothing when the reply comes later, by complete().
  using Answer = std::function<std::optional<Reply>(const Request&)>;
  void serve(base::Instant now, const Answer& answer);
  /// The reply to the request of that ticket; may be called while it is being asked for. Nothing happens when
  /// whoever asked has gone, or had another reply.
  void complete(std::uint64_t ticket, Reply reply);
  /// When serve() is to be called although nothing has happened; Instant::max() when never.
  base::Instant next_deadline() const;

  /// In a child: the file and the connections are its parent's.
  void abandon();

 private:
  // kReading -> kWaiting -> kWriting, kReading -> kWriting when the command cannot be understood.
  enum class Step : std::uint8_t { kReading, kWaiting, kWriting };
  struct Connection {
    base::Fd socket;
    base::Instant deadline;
    std::string request;
    Step step = Step::kReading;
    std::uint64_t ticket = 0;
    Reply reply;           // descriptors: those not sent yet
    std::size_t sent = 0;  // bytes of reply.json
    bool done = false;
  };

  Server(std::string path, base::Fd listener) : path_(std::move(path)), listener_(std::move(listener)) {}
  void accept_all(base::Instant now);
  bool go_on(Connection& connection, base::Instant now, const Answer& answer);
  void ask(Connection& connection, base::Instant now, const Answer& answer);
  static void give(Connection& connection, Reply reply, base::Instant now);
  static bool read_request(Connection& connection);
  static bool write_reply(Connection& connection);

  std::string path_;  // empty: not ours to remove
  base::Fd listener_;
  std::vector<Connection> connections_;
  std::uint64_t last_ticket_ = 0;
};

}  // namespace tlsplice::admin
