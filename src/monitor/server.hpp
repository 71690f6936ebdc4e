// The HTTP server of the monitor process: GET and HEAD of a few pages made on the spot. libmicrohttpd speaks
// HTTP; this file says how much of it, and sees to it that no peer can keep another one out. A connection has
// kRequestTime for each request, from its start or the end of the one before; when there are more than
// kConnectionsMax, the one that has gone longest without finishing a request is closed. One thread, which
// never waits here: poll descriptor() and call run(). For Prometheus and a few people; the way to keep
// strangers out is the address.
#pragma once

#include <microhttpd.h>

#include <functional>
#include <string>
#include <vector>

#include "tlsplice/base/clock.hpp"
#include "tlsplice/base/fd.hpp"
#include "tlsplice/base/list.hpp"
#include "tlsplice/base/result.hpp"

namespace tlsplice::monitor {

struct Page {
  std::string path;  // "/metrics"
  const char* content_type;
  std::function<std::string()> make;
};

class Server {
 public:
  static constexpr std::size_t kConnectionsMax = 64;
  static constexpr base::Milliseconds kRequestTime{10'000};
  /// Of each connection: a request's line and headers must fit, and the response's.
  static constexpr std::size_t kConnectionMemory = 16 * 1024;

  /// `listening` is a listening socket, non-blocking. Neither copies nor moves: libmicrohttpd points to it.
  Server(std::vector<Page> pages, base::Instant now);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server();
  base::Result<void> start(base::Fd listening);

  /// Readable when run() has something to do.
  int descriptor() const;
  void run(base::Instant now);
  /// How long at most until run() must be called although descriptor() is silent.
  base::Milliseconds until_next(base::Instant now);

 private:
  struct Connection;

  static void note_connection(void* self, MHD_Connection* connection, void** context,
                              MHD_ConnectionNotificationCode what);
  static void note_completed(void* self, MHD_Connection* connection, void** state,
                             MHD_RequestTerminationCode how);
  static MHD_Result answer(void* self, MHD_Connection* connection, const char* path, const char* method,
                           const char* version, const char* upload, std::size_t* upload_size, void** state);
  MHD_Result answer(MHD_Connection* connection, const char* path) const;
  void begin(Connection& connection);
  void send_away(Connection& connection);

  std::vector<Page> pages_;
  base::Instant now_;
  base::List<Connection> connections_;  // the longest without a finished request first
  std::size_t open_ = 0;                // as many as there are in it
  MHD_Daemon* daemon_ = nullptr;
};

}  // namespace tlsplice::monitor
