#include "tlsplice/admin/channel.hpp"

#include <sys/socket.h>

#include <cerrno>
#include <vector>

#include "descriptors.hpp"

namespace tlsplice::admin {

using base::Error;
using base::Result;

Result<Channel> make_channel() {
  int ends[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
    return base::fail(Error::system("make a channel to a worker", errno));
  return Channel{base::Fd(ends[0]), base::Fd(ends[1])};
}

Result<void> send(int channel, Command command) {
  const char order = static_cast<char>(command.order);
  const ssize_t sent = send_with(channel, {&order, 1}, {&command.descriptor, command.descriptor ? 1U : 0U});
  if (sent == -EAGAIN)
    return base::fail({base::Fault::kExhausted, EAGAIN, "tell the worker: it does not listen"});
  if (sent < 0) return base::fail(Error::system("tell the worker", static_cast<int>(-sent)));
  return {};
}

Result<std::optional<Command>> receive(int channel) {
  char order = 0;
  std::vector<base::Fd> descriptors;
  const ssize_t received = receive_with(channel, {&order, 1}, descriptors);
  if (received == -EAGAIN || received == -EINTR) return std::nullopt;
  if (received == 0) return base::fail({base::Fault::kClosed, 0, "the master is gone"});
  if (received < 0) return base::fail(Error::system("hear the master", static_cast<int>(-received)));
  if (order == static_cast<char>(Order::kServe)) return Command{Order::kServe};
  const bool known =
      order == static_cast<char>(Order::kListFlows) || order == static_cast<char>(Order::kAccessLog);
  if (!known || descriptors.size() != 1) return std::nullopt;
  return Command{static_cast<Order>(order), std::move(descriptors.front())};
}

}  // namespace tlsplice::admin
