// Who may come in: the limits on flows, descriptors and memory. Reaching one counts new connections, says so
// once a second, and refuses them with a reset, so that who sees a refusal finds it counted. It ends by
// itself when there is room again.
#pragma once

#include <cstdint>

#include "tlsplice/base/clock.hpp"
#include "tlsplice/base/fd.hpp"
#include "tlsplice/base/log.hpp"
#include "tlsplice/observe/counters.hpp"

namespace tlsplice::worker {

enum class Refusal : std::uint8_t { kMaxFlows, kDescriptors, kMemory, kPorts };

class Admission {
 public:
  Admission(const observe::CounterTable& all, observe::Counters own, base::Log& log, std::uint32_t max_flows);

  /// Whether one more flow fits. Counts and resets the connection if not. `listener_row` is its listener's.
  bool admit(base::Fd& connection, std::size_t listener_row, base::Instant now);

  /// accept(2) had no descriptor: takes one connection from the queue with the spare one and resets it, for
  /// otherwise it would wait there and the listening socket would stay readable. False when even that did not
  /// work.
  bool refuse_next(int listener, std::size_t listener_row, base::Instant now);

  void count(Refusal reason, std::size_t listener_row, base::Instant now);
  /// Says it only, once a second: for flows whose record has counted it.
  void say(Refusal reason, base::Instant now);

 private:
  const observe::CounterTable& all_;
  observe::Counters own_;
  base::Log& log_;
  std::uint32_t max_flows_;
  base::Fd spare_;
  base::OncePerSecond said_[4];  // one for each Refusal
};

}  // namespace tlsplice::worker
