#include "tlsplice/admin/channel.hpp"

#include <sys/socket.h>

#include <array>
#include <bit>
#include <cerrno>
#include <vector>

#include "descriptors.hpp"

namespace tlsplice::admin {

using base::Error;
using base::Result;

namespace {

struct Packet {
  std::uint32_t order;
  std::uint32_t number;
};

}  // namespace

Result<Channel> make_channel() {
  int ends[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
    return base::fail(Error::system("make a channel to a worker", errno));
  return Channel{base::Fd(ends[0]), base::Fd(ends[1])};
}

Result<void> send(int channel, Command command) {
  const Packet packet{static_cast<std::uint32_t>(command.order), command.number};
  const auto bytes = std::bit_cast<std::array<char, sizeof packet>>(packet);
  const ssize_t sent = send_with(channel, bytes, {&command.descriptor, command.descriptor ? 1U : 0U});
  if (sent == -EAGAIN)
    return base::fail({base::Fault::kExhausted, EAGAIN, "tell the worker: it does not listen"});
  if (sent < 0) return base::fail(Error::system("tell the worker", static_cast<int>(-sent)));
  return {};
}

Result<std::optional<Command>> receive(int channel) {
  std::array<char, sizeof(Packet)> bytes{};
  std::vector<base::Fd> descriptors;
  const ssize_t received = receive_with(channel, bytes, descriptors);
  if (received == -EAGAIN || received == -EINTR) return std::nullopt;
  if (received == 0) return base::fail({base::Fault::kClosed, 0, "the master is gone"});
  if (received < 0) return base::fail(Error::system("hear the master", static_cast<int>(-received)));
  if (received != std::ssize(bytes)) return std::nullopt;
  const auto packet = std::bit_cast<Packet>(bytes);
  const auto order = static_cast<Order>(packet.order);
  switch (order) {
    case Order::kListFlows:
    case Order::kAccessLog:
      if (descriptors.size() != 1) return std::nullopt;
      return Command{order, std::move(descriptors.front())};
    case Order::kServe:
    case Order::kEndFlows:
    case Order::kEndShare:
      return Command{order, {}, packet.number};
  }
  return std::nullopt;
}

}  // namespace tlsplice::admin
