// The cases bulk-down, bulk-up and soak.
#include <algorithm>
#include <memory>

#include "random.hpp"
#include "run.hpp"
#include "verbs.hpp"

namespace tlsplice::load {
namespace {

constexpr std::uint64_t kExchangesMax = 20;  // of one flow of the soak

/// What each of the connections moves, so that it is `bytes` in all.
std::uint64_t part_of(const StreamOptions& options, std::uint64_t id) {
  return options.bytes / options.connections + (id < options.bytes % options.connections ? 1 : 0);
}

std::unique_ptr<Talk> soak_talk(const Plan& plan, Histogram& latencies) {
  if (plan.kind == Kind::kStream) return stream_talk(Connection::Role::kClient, plan);
  const auto ask = [left = 1 + plan.seed % kExchangesMax](base::Instant) mutable {
    return left-- == 0 ? Next::kEnd : Next::kExchange;
  };
  return messages_client(plan, ask, latencies);
}

}  // namespace

int bulk_down(const ClientOptions& client, const StreamOptions& options) {
  const auto talk = [&](const Crew::Opened& opened) {
    const Plan plan{.ends = Ends::kServerFirst,
                    .seed = derive(client.seed, opened.id),
                    .down = part_of(options, opened.id)};
    return stream_talk(Connection::Role::kClient, plan);
  };
  return run_to_the_end("bulk-down", client, options.connections, options.connections, talk);
}

int bulk_up(const ClientOptions& client, const StreamOptions& options) {
  const auto talk = [&](const Crew::Opened& opened) {
    const Plan plan{.ends = Ends::kClientFirst,
                    .seed = derive(client.seed, opened.id),
                    .up = part_of(options, opened.id)};
    return stream_talk(Connection::Role::kClient, plan);
  };
  return run_to_the_end("bulk-up", client, options.connections, options.connections, talk);
}

int soak(const ClientOptions& client, const SoakOptions& options) {
  const auto talk = [&](const Crew::Opened& opened) {
    return soak_talk(soak_plan(client.seed, opened.id, options.pause_ms_max), opened.latencies);
  };
  return run_to_the_end("soak", client, options.flows, options.concurrency, talk);
}

}  // namespace tlsplice::load
