// The two halves of a stream: an Outlet sends what belongs to it, an Inlet checks what comes. Both go at the
// Pacer's pace.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "connection.hpp"
#include "pattern.hpp"
#include "random.hpp"
#include "talk.hpp"
#include "tlsplice/base/clock.hpp"

namespace tlsplice::load {

/// Cuts a stream into pieces of 1 B to 1 MiB, with a pause after every third; one endless piece if there are
/// to be no pauses.
class Pacer {
 public:
  Pacer(std::uint64_t seed, std::uint16_t pause_ms_max);

  /// How many of `most` bytes may move now; 0: not before resume().
  std::size_t allowance(base::Instant now, std::size_t most) const;
  void moved(std::size_t size, base::Instant now);
  base::Instant resume() const { return resume_; }

 private:
  Random random_;
  std::uint16_t pause_ms_max_;
  std::uint64_t left_;
  base::Instant resume_{};
};

enum class Step : std::uint8_t { kWaiting, kMore, kPaused, kComplete, kReset, kFailed };

class Outlet {
 public:
  /// How far it may go: its opening only, the stream too, or to the end.
  enum class Gate : std::uint8_t { kOpening, kStream, kEnd };

  /// `fin`: whether a FIN follows the close_notify at once (on TLS; else it does in any case).
  Outlet(std::vector<std::byte> opening, Pattern pattern, std::uint64_t total, Pacer pacer, bool fin);

  Step send(Connection& connection, base::Instant now, Gate gate);

  /// Sent behind the stream, before the end.
  void set_closing(std::vector<std::byte> closing) { closing_ = std::move(closing); }
  bool stream_sent() const { return opening_.empty() && sent_ == total_; }
  base::Instant resume() const { return pacer_.resume(); }

 private:
  Step step(Connection& connection, base::Instant now, Gate gate);
  static Step send_all(Connection& connection, std::vector<std::byte>& rest);

  std::vector<std::byte> opening_;
  std::vector<std::byte> closing_;
  Pattern pattern_;
  std::uint64_t total_;
  std::uint64_t sent_ = 0;
  Pacer pacer_;
  bool fin_;
  bool ended_ = false;
};

class Inlet {
 public:
  /// `closing`: how many bytes are to come behind the stream.
  Inlet(Pattern pattern, std::uint64_t total, Pacer pacer, std::size_t closing);

  /// kComplete at the peer's clean end, whether all has come or not.
  Step receive(Connection& connection, const Moment& moment);

  bool ended() const { return ended_; }
  std::uint64_t received() const { return received_; }
  std::optional<std::uint64_t> first_wrong() const { return first_wrong_; }
  const std::vector<std::byte>& closing() const { return closing_; }
  base::Instant resume() const { return pacer_.resume(); }

 private:
  void take(Bytes data);

  Pattern pattern_;
  std::uint64_t total_;
  std::uint64_t received_ = 0;  // of the stream, what came too much included
  std::optional<std::uint64_t> first_wrong_;
  std::size_t closing_size_;
  std::vector<std::byte> closing_;
  Pacer pacer_;
  bool ended_ = false;
};

}  // namespace tlsplice::load
