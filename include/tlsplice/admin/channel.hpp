// What the master tells a worker besides signals: orders, some with a descriptor or a number, as packets on a
// socketpair(2). Neither end ever waits for the other.
#pragma once

#include <cstdint>
#include <optional>

#include "tlsplice/base/fd.hpp"
#include "tlsplice/base/result.hpp"

namespace tlsplice::admin {

enum class Order : std::uint8_t {
  kListFlows = 1,  // the descriptor: a stream socket for rows of tlsplice_flow (wire/flows.h)
  kAccessLog = 2,  // the descriptor: where the access log goes on
  kServe = 3,      // accept connections from now on
  kEndFlows = 4,   // the number: the row of the target (observe::Shape) whose flows are to end
  kEndShare = 5,   // the number: whose flows are to end, the listener's row << 16 | its target group's
};

struct Command {
  Order order = Order::kListFlows;
  base::Fd descriptor{};
  std::uint32_t number = 0;
};

struct Channel {
  base::Fd master;
  base::Fd worker;  // non-blocking
};
base::Result<Channel> make_channel();

/// In the master. The descriptor is given away in any case. kExhausted: the worker has not read what it was
/// sent before.
base::Result<void> send(int channel, Command command);

/// In the worker: the next command, none when there is none yet; kClosed when the master is gone.
base::Result<std::optional<Command>> receive(int channel);

}  // namespace tlsplice::admin
