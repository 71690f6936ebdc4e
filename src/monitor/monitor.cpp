// The loop of the monitor process: signals and the HTTP server, one poll(2) for both. Whatever else it is to
// do one day has its place in that poll.
#include "tlsplice/monitor/monitor.hpp"

#include <poll.h>
#include <sys/signalfd.h>

#include <cerrno>
#include <csignal>

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

}  // namespace

int run(Setup setup) {
  const base::Fd signals = open_signals();
  Server server(pages(setup.numbers), base::now());
  auto started = signals ? server.start(std::move(setup.listening))
                         : base::fail(base::Error::system("open signalfd", errno));
  if (!started) {
    setup.log.error("monitor_failed", {{"error", started.error().text()}});
    return 1;
  }
  for (;;) {
    pollfd watched[] = {{.fd = signals.get(), .events = POLLIN, .revents = 0},
                        {.fd = server.descriptor(), .events = POLLIN, .revents = 0}};
    ::poll(watched, std::size(watched), static_cast<int>(server.until_next(base::now()).count()));
    if (watched[0].revents != 0) return 0;
    server.run(base::now());
  }
}

}  // namespace tlsplice::monitor
