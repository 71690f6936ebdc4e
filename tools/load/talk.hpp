// What one side of a flow says and expects once its connection is established. A Talk does what it can each
// time the socket may be ready, and says what it waits for. It knows nothing of loops; it is given the time
// and a buffer that all flows share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "connection.hpp"
#include "plan.hpp"
#include "tlsplice/base/clock.hpp"

namespace tlsplice::load {

class Histogram;

struct Moment {
  base::Instant now;
  std::span<std::byte> buffer;
};

struct Turn {
  enum class What : std::uint8_t {
    kWaiting,  // for the socket
    kMore,     // has used up its share; others first
    kPaused,   // for the socket, and until `until` at most
    kDone,     // all as planned
    kFailed,   // `why` says how not
  };
  What what = What::kWaiting;
  base::Instant until{};
  std::string why{};

  static Turn done() { return {.what = What::kDone}; }
  static Turn failed(std::string reason) { return {.what = What::kFailed, .why = std::move(reason)}; }
};

class Talk {
 public:
  Talk() = default;
  Talk(const Talk&) = delete;
  Talk& operator=(const Talk&) = delete;
  virtual ~Talk() = default;

  /// Called again until it is done or has failed.
  virtual Turn go_on(Connection& connection, const Moment& moment) = 0;

  /// Whether it is right that nothing moves, for however long.
  virtual bool resting() const { return false; }

  /// What it was told to do; nothing for a ping, or before the plan has arrived.
  virtual const Plan* plan() const { return nullptr; }
};

/// A stream, from either side.
std::unique_ptr<Talk> stream_talk(Connection::Role role, const Plan& plan);

/// What a client with messages does next.
enum class Next : std::uint8_t { kExchange, kRest, kEnd };
using AskNext = std::function<Next(base::Instant now)>;

/// Requests and answers, as often as `ask` says; the time of each goes into `latencies`. Both outlive the
/// talk.
std::unique_ptr<Talk> messages_client(const Plan& plan, AskNext ask, Histogram& latencies);

/// A connection for one byte each way; the time since `opened` goes into `latencies`.
std::unique_ptr<Talk> ping_client(base::Instant opened, Histogram& latencies);

/// Whatever the plan of the client, once it has come, asks for.
std::unique_ptr<Talk> server_talk();

/// Of the server, with a plan that has come.
std::unique_ptr<Talk> messages_server(const Plan& plan);

}  // namespace tlsplice::load
