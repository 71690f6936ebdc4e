// The loop of the monitor process: signals, the HTTP server, the health checks, all on one libevent loop.
#include "tlsplice/monitor/monitor.hpp"

#include <sys/signalfd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "health.hpp"
#include "loop.hpp"
#include "server.hpp"

namespace tlsplice::monitor {
namespace {

// text/plain with this version is the text format that every Prometheus reads.
constexpr char kMetricsType[] = "text/plain; version=0.0.4; charset=utf-8";
constexpr char kIndex[] =
    "<!doctype html><title>tlsplice</title><h1>tlsplice</h1>\n"
    "<p><a href=\"/metrics\">/metrics</a>: the numbers, for Prometheus\n"
    "<p><a href=\"/healthz\">/healthz</a>: whether this process answers\n";

std::vector<Page> pages(const Numbers& numbers) {
  return {{"/metrics", kMetricsType, [&numbers] { return metrics_text(numbers, base::now()); }},
          {"/healthz", "text/plain; charset=utf-8", [] { return std::string("ok\n"); }},
          {"/", "text/html; charset=utf-8", [] { return std::string(kIndex); }}};
}

base::Fd open_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGQUIT);
  return base::Fd(::signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC));
}

/// libmicrohttpd on the loop: its descriptor and its timeouts.
class Answers {
 public:
  Answers(event_base* loop, const Numbers& numbers) : server_(pages(numbers), base::now()), loop_(loop) {}

  base::Result<void> start(base::Fd listening) {
    if (auto started = server_.start(std::move(listening)); !started) return started;
    const auto callback = [](evutil_socket_t, short, void* self) { static_cast<Answers*>(self)->turn(); };
    readable_.emplace(loop_, server_.descriptor(), EV_READ | EV_PERSIST, callback, this);
    timer_.emplace(loop_, -1, 0, callback, this);
    readable_->add();
    turn();
    return {};
  }

 private:
  void turn() {
    server_.run(base::now());
    timer_->add(server_.until_next(base::now()));
  }

  Server server_;
  event_base* loop_;
  std::optional<Event> readable_;
  std::optional<Event> timer_;
};

bool anything_to_check(std::span<const targets::WatchedGroup> groups) {
  return std::ranges::any_of(groups, &targets::WatchedGroup::checked);
}

int give_up(base::Log& log, const base::Error& error) {
  log.error("monitor_failed", {{"error", error.text()}});
  return 1;
}

}  // namespace

int run(Setup setup) {
  const base::Fd signals = open_signals();
  const Loop loop = make_loop();
  if (!signals || !loop) return give_up(setup.log, base::Error::system("open a signalfd and a loop", errno));
  Event end(
      loop.get(), signals.get(), EV_READ,
      [](evutil_socket_t, short, void* of) { event_base_loopbreak(static_cast<event_base*>(of)); },
      loop.get());
  end.add();
  Answers answers(loop.get(), setup.numbers);
  if (setup.listening) {
    if (auto started = answers.start(std::move(setup.listening)); !started)
      return give_up(setup.log, started.error());
  }
  std::unique_ptr<Health> health;
  if (anything_to_check(setup.groups)) {
    auto begun = Health::begin({.loop = loop.get(),
                                .groups = setup.groups,
                                .table = setup.numbers.health,
                                .counters = setup.numbers.counters,
                                .log = setup.log});
    if (!begun) return give_up(setup.log, begun.error());
    health = std::move(*begun);
  }
  event_base_dispatch(loop.get());
  return 0;
}

}  // namespace tlsplice::monitor
