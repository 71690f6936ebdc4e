// The cases messages, handshakes and idle.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>
#include <utility>

#include "random.hpp"
#include "run.hpp"
#include "verbs.hpp"

namespace tlsplice::load {
namespace {

constexpr base::Milliseconds kRateTick{1};

Plan messages_plan(const ClientOptions& client, std::uint64_t id, std::uint64_t size) {
  return {.kind = Kind::kMessages, .seed = derive(client.seed, id), .up = size, .down = size};
}

std::chrono::nanoseconds in_seconds(double seconds) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(seconds));
}

/// At that many a second, the first at once.
std::uint64_t due_by(std::chrono::duration<double> passed, double rate) {
  return static_cast<std::uint64_t>(passed.count() * rate) + 1;
}

bool is_over(const MessagesOptions& options, std::chrono::nanoseconds passed, std::uint64_t asked) {
  return options.seconds > 0 ? passed >= in_seconds(options.seconds) : asked == options.count;
}

/// What is counted begins when each connection has had one answer: by then all are up and both ends warm.
int messages_at_a_rate(const ClientOptions& client, const MessagesOptions& options) {
  std::uint64_t warm = 0;
  std::uint64_t asked = 0;
  std::optional<base::Instant> since;
  const auto due = [&] { return due_by(base::now() - *since, options.rate) - asked; };
  const auto ask = [&](base::Instant now) {
    if (!since) return Next::kRest;
    if (is_over(options, now - *since, asked)) return Next::kEnd;
    if (due() == 0) return Next::kRest;
    ++asked;
    return Next::kExchange;
  };
  const auto talk = [&](const Crew::Opened& opened) {
    const AskNext ask_warm = [&, first = true, cold = true](base::Instant now) mutable {
      if (std::exchange(first, false)) return Next::kExchange;
      if (std::exchange(cold, false)) ++warm;
      return ask(now);
    };
    return messages_client(messages_plan(client, opened.id, options.size), ask_warm, opened.latencies);
  };
  auto begun = Run::begin("messages", client, options.connections, talk);
  if (!begun) return cannot(begun.error());
  Run& run = **begun;
  while (run.turn(options.connections, kRateTick)) {
    if (!since && warm + run.crew().tally().failed >= options.connections) {
      since = base::now();
      run.crew().forget_latencies();
    }
    if (since) run.loop().poke_resting(due());
  }
  return run.finish();
}

}  // namespace

int messages(const ClientOptions& client, const MessagesOptions& options) {
  if (options.rate > 0) return messages_at_a_rate(client, options);
  std::uint64_t asked = 0;
  std::optional<base::Instant> since;  // the first question: connections open at the same time
  const AskNext ask = [&](base::Instant now) {
    if (!since) since = now;
    if (is_over(options, now - *since, asked)) return Next::kEnd;
    ++asked;
    return Next::kExchange;
  };
  return run_to_the_end(
      "messages", client, options.connections, options.connections, [&](const Crew::Opened& opened) {
        return messages_client(messages_plan(client, opened.id, options.size), ask, opened.latencies);
      });
}

int handshakes(const ClientOptions& client, const HandshakesOptions& options) {
  const auto talk = [](const Crew::Opened& opened) { return ping_client(opened.at, opened.latencies); };
  if (options.rate == 0)
    return run_to_the_end("handshakes", client, options.count, options.concurrency, talk);
  auto begun = Run::begin("handshakes", client, options.count, talk);
  if (!begun) return cannot(begun.error());
  Run& run = **begun;
  const std::uint64_t burst = std::max<std::uint64_t>(options.burst, 1);
  const base::Instant start = base::now();
  const auto may_be_open = [&] {
    const std::uint64_t bursts = due_by(base::now() - start, options.rate / static_cast<double>(burst));
    const std::uint64_t more = bursts * burst - std::min(bursts * burst, run.crew().tally().flows);
    return std::min(options.concurrency, run.crew().open() + more);
  };
  while (run.turn(may_be_open(), kRateTick)) continue;
  return run.finish();
}

int idle(const ClientOptions& client, const IdleOptions& options) {
  std::uint64_t up = 0;
  bool released = false;
  const auto talk = [&](const Crew::Opened& opened) {
    const AskNext ask = [&, state = 0](base::Instant) mutable {
      if (state == 0) return ++state, Next::kExchange;
      if (state == 1) ++up, ++state;
      return released ? Next::kEnd : Next::kRest;
    };
    return messages_client(messages_plan(client, opened.id, options.size), ask, opened.latencies);
  };
  auto begun = Run::begin("idle", client, options.flows, talk);
  if (!begun) return cannot(begun.error());
  Run& run = **begun;
  while (up < options.flows && run.turn(up + options.concurrency)) {
    if (run.crew().tally().failed != 0) return run.finish(fmt::format(R"(,"up":{})", up));
  }
  if (up == options.flows) {
    fmt::print("up {}\n", up);
    (void)std::fflush(stdout);
    run.hold(in_seconds(options.hold_seconds));
  }
  released = true;
  run.loop().poke_resting(options.flows);
  while (run.turn(0)) continue;
  return run.finish(fmt::format(R"(,"up":{})", up));
}

}  // namespace tlsplice::load
