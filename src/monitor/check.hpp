// One check of one target: a TCP connection, and over it what the group's health_check asks for. It is closed
// after the check. Whatever the target does, the check ends: at its timeout at the latest.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "http.hpp"
#include "loop.hpp"
#include "tlsplice/base/fd.hpp"
#include "tlsplice/net/address.hpp"
#include "tlsplice/targets/health.hpp"
#include "tlsplice/tls/context.hpp"

namespace tlsplice::monitor {

/// What a group's targets are asked. Outlives the checks.
struct Question {
  policy::HealthCheck settings;
  std::uint16_t listener_port = 0;        // of the Host header
  std::vector<std::byte> header;          // proxy protocol, before everything else; empty: none
  Http* http = nullptr;                   // of HTTP and HTTPS checks
  const tls::Context* context = nullptr;  // of HTTPS checks
};

struct Answer {
  targets::Outcome outcome;
  std::string detail;  // why it failed, for people
};

class Check {
 public:
  /// nullopt: it could not be made for want of descriptors, memory or ports here, which says nothing of the
  /// target.
  using Done = std::function<void(const std::optional<Answer>&)>;

  Check(event_base* loop, const Question& question, const net::Address& target, Done done);
  Check(const Check&) = delete;
  Check& operator=(const Check&) = delete;
  ~Check() { close(); }

  /// Ends the one before, if need be as timed out, and begins. Calls done once, perhaps at once.
  void start();

 private:
  enum class Stage : std::uint8_t { kIdle, kConnecting, kAsking, kAnswered };

  void connected();
  bool introduce();
  void ask();
  void heard();
  void judge(unsigned status);
  void expire();
  void close();
  void answer(const std::optional<Answer>& answer);
  void fail(std::string_view reason, std::string detail);

  event_base* loop_;
  const Question& question_;
  net::Address target_;
  Done done_;
  base::Fd socket_;  // until the exchange has it
  std::optional<Event> writable_;
  Event deadline_;
  std::unique_ptr<Exchange> exchange_;
  Stage stage_ = Stage::kIdle;
};

}  // namespace tlsplice::monitor
