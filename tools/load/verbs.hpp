// What the command line chooses from: the server, and the cases of the client. Each runs to its end, prints
// its results to stdout as one line of JSON, and answers with the exit status.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "connection.hpp"

namespace tlsplice::load {

inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;  // a flow did not go as planned, or nothing could be begun
inline constexpr int kExitUsage = 2;

struct ServeOptions {
  std::string listen;
  std::vector<std::string> certificate;  // chain and key; empty: plain
  TlsOptions tls;
  unsigned stall_seconds = 60;
};

struct ForwardOptions {
  std::string listen;
  std::string to;
};

struct ClientOptions {
  std::string connect;
  bool tls = false;
  bool plain = false;  // says what is so anyway
  TlsOptions tls_options;
  unsigned stall_seconds = 60;
  std::uint64_t seed = 1;
};

struct StreamOptions {
  std::uint64_t bytes = 1024 * 1024 * 1024;  // over all connections
  std::uint64_t connections = 1;
};

struct MessagesOptions {
  std::uint64_t size = 64;  // of the request, and of the answer
  std::uint64_t connections = 32;
  std::uint64_t count = 100'000;  // over all connections
  double seconds = 0;             // instead of a count, unless 0
  double rate = 0;  // requests a second, as far as the answers let them; 0: each follows the answer before
};

struct HandshakesOptions {
  std::uint64_t count = 1000;
  std::uint64_t concurrency = 8;
  double rate = 0;          // begun a second, as far as concurrency lets them; 0: as many as it lets
  std::uint64_t burst = 1;  // of these, that many at the same time
};

struct IdleOptions {
  std::uint64_t flows = 1000;
  std::uint64_t concurrency = 64;  // opening at a time
  std::uint64_t size = 100;        // of the one exchange, each way
  double hold_seconds = 0;         // 0: until a line or the end on stdin, or SIGTERM
};

struct SoakOptions {
  std::uint64_t flows = 1000;
  std::uint64_t concurrency = 100;
  std::uint16_t pause_ms_max = 50;
};

int serve(const ServeOptions& options);
int forward(const ForwardOptions& options);
int bulk_down(const ClientOptions& client, const StreamOptions& options);
int bulk_up(const ClientOptions& client, const StreamOptions& options);
int messages(const ClientOptions& client, const MessagesOptions& options);
int handshakes(const ClientOptions& client, const HandshakesOptions& options);
int idle(const ClientOptions& client, const IdleOptions& options);
int soak(const ClientOptions& client, const SoakOptions& options);

}  // namespace tlsplice::load
