// A flow over real TCP for the tests of the relay: two connections, the relay between them, and what can be
// seen of the pipes it keeps.
#pragma once

#include <sys/resource.h>

#include <filesystem>
#include <thread>

#include "../tls/loopback.hpp"
#include "tlsplice/net/stream.hpp"
#include "tlsplice/relay/relay.hpp"

namespace tlsplice::tests {

inline constexpr relay::Limits kPatient{.idle = kPatience, .truncation_resets = true};

class Tally final : public relay::Meter {
 public:
  void moved(relay::Side from, std::uint64_t bytes, std::uint64_t spliced) override {
    (from == relay::Side::kClient ? received : sent) = bytes;
    (from == relay::Side::kClient ? spliced_up_ : spliced_down_) = spliced;
  }
  std::uint64_t spliced() const { return spliced_up_ + spliced_down_; }

  std::uint64_t received = 0;
  std::uint64_t sent = 0;

 private:
  std::uint64_t spliced_up_ = 0;
  std::uint64_t spliced_down_ = 0;
};

/// How a flow ended, and what its meter was told.
struct Measured : relay::Outcome {
  std::uint64_t received = 0;
  std::uint64_t sent = 0;
  std::uint64_t spliced = 0;
};

inline uring::Task<Measured> relayed(World& world, relay::Pools& pools, net::Stream& client,
                                     net::Stream& target, relay::Limits limits) {
  Tally tally;
  const auto outcome = co_await relay::run(world.ring(), world.stop(), client, target, pools, limits, tally);
  co_return Measured{outcome, tally.received, tally.sent, tally.spliced()};
}

/// Both connections of a flow. The relay works on the streams; the tests hold the peers' ends.
class Flow {
 public:
  explicit Flow(int buffer_bytes = 0) : Flow(connection(buffer_bytes), connection(buffer_bytes)) {}

  uring::Task<Measured> relayed(World& world, relay::Pools& pools, relay::Limits limits = kPatient) {
    return tests::relayed(world, pools, *client_stream_, *target_stream_, limits);
  }
  /// What the session does after the relay.
  void hang_up(relay::Finish finish) {
    for (auto* stream : {&client_stream_, &target_stream_}) {
      if (finish != relay::Finish::kClosed) net::reset_on_close((*stream)->fd());
      stream->reset();
    }
  }

  base::Fd client;
  base::Fd target;

 private:
  Flow(Connection front, Connection back)
      : client(std::move(front.peer)),
        target(std::move(back.peer)),
        client_stream_(std::make_unique<net::SocketStream>(std::move(front.ours))),
        target_stream_(std::make_unique<net::SocketStream>(std::move(back.ours))) {}

  std::unique_ptr<net::SocketStream> client_stream_;
  std::unique_ptr<net::SocketStream> target_stream_;
};

/// Serves the flow to its end while `client` and `target` act, each in a thread of its own, then hangs up.
template <typename Client, typename Target>
Measured relayed(World& world, relay::Pools& pools, Flow& flow, Client client, Target target,
                 relay::Limits limits = kPatient) {
  std::jthread first([&] { client(flow.client); });
  std::jthread second([&] { target(flow.target); });
  const auto outcome = world.run(flow.relayed(world, pools, limits));
  flow.hang_up(outcome.finish);
  return outcome;
}

/// Sends in pieces of many sizes, each one chosen by the seed.
inline void send_in_pieces(int socket, std::string_view bytes, std::uint64_t seed) {
  const std::string sizes = pattern(4096, seed);
  for (std::size_t i = 0; !bytes.empty(); ++i) {
    const auto a = static_cast<unsigned char>(sizes[(2 * i) % sizes.size()]);
    const auto b = static_cast<unsigned char>(sizes[(2 * i + 1) % sizes.size()]);
    const std::size_t piece = std::min<std::size_t>(bytes.size(), (a % 4 == 0 ? 1U : 4096U) * (b + 1U));
    if (!send_all(socket, bytes.substr(0, piece))) return;
    bytes.remove_prefix(piece);
  }
}

/// Descriptors of this process that are pipes.
inline std::size_t open_pipes() {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    if (std::filesystem::read_symlink(entry.path(), gone).string().starts_with("pipe:")) ++count;
  }
  return count;
}

/// While it lives the process can open no further descriptor.
class NoDescriptors {
 public:
  NoDescriptors() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const base::Fd lowest(::dup(0));  // every descriptor below it is taken
    const rlimit none{.rlim_cur = static_cast<rlim_t>(lowest.get()), .rlim_max = before_.rlim_max};
    TLSPLICE_EXPECT(lowest && ::setrlimit(RLIMIT_NOFILE, &none) == 0, "the tests can lower a limit");
  }
  ~NoDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  NoDescriptors(const NoDescriptors&) = delete;
  NoDescriptors& operator=(const NoDescriptors&) = delete;

 private:
  rlimit before_{};
};

}  // namespace tlsplice::tests
