#include "monitor_process.hpp"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <ctime>

#include "tlsplice/monitor/monitor.hpp"
#include "tlsplice/net/socket.hpp"

namespace tlsplice::master {

using base::Error;
using base::Milliseconds;
using base::Result;

Result<void> MonitorProcess::open(const policy::MetricsSettings& settings) {
  if (!settings.address) return {};
  const auto& [host, port] = *settings.address;
  auto socket = net::listen_alone(net::Address::parse(host, port).value());  // checked with the whole file
  if (socket) {
    listening_ = std::move(*socket);
    log_.info("metrics", {{"url", fmt::format("http://{}/metrics", policy::to_string(*settings.address))}});
    return {};
  }
  if (!settings.is_default) {
    socket.error().detail = fmt::format("metrics.address: {}", socket.error().detail);
    return base::fail(std::move(socket.error()));
  }
  log_.warning("no_metrics", {{"why", socket.error().text()},
                              {"remedy", "set [metrics] address to one that is free, or to \"off\""}});
  return {};
}

void MonitorProcess::start_due(base::Instant now) {
  if (now < next_start()) return;
  const pid_t master = ::getpid();
  const pid_t process = ::fork();
  if (process == 0) become_monitor(master);
  if (process < 0) {
    due_ = now + Backoff::kFirstPause;
    return log_.error("monitor_fork_failed", {{"error", Error::system("fork", errno).text()}});
  }
  process_ = process;
  started_ = now;
  log_.info("monitor_started", {{"monitor_pid", process}});
}

/// In the child. It speaks HTTP with strangers, so it has nothing that could be taken from it: no key, no
/// listening socket but its own, no channel to a worker.
void MonitorProcess::become_monitor(pid_t master) {
  base::Fd listening = std::move(listening_);
  workers_.abandon();
  prepared_.forget_keys();
  if (auto dropped = drop_privileges(workers_.identity(), master); !dropped) {
    log_.error("monitor_failed", {{"error", dropped.error().text()}});
    std::exit(1);
  }
  std::exit(monitor::run({.listening = std::move(listening),
                          .numbers = {.counters = workers_.counters(),
                                      .loads = workers_.loads(),
                                      .outcomes = workers_.outcomes(),
                                      .library = tls::library_version(),
                                      .started = service_started_},
                          .log = log_}));
}

bool MonitorProcess::bury(pid_t process, int status, base::Instant now) {
  if (process != process_) return false;
  process_ = -1;
  const auto lived = std::chrono::duration_cast<Milliseconds>(now - started_);
  const Milliseconds pause = backoff_.after_death(lived);
  due_ = now + pause;
  workers_.counters().worker(0).add(&tlsplice_counters::MonitorDeathCount);
  log_.error("monitor_died", {{"monitor_pid", process},
                              {WIFSIGNALED(status) ? "signal" : "status",
                               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)},
                              {"lived_ms", lived.count()},
                              {"pause_ms", pause.count()}});
  return true;
}

void MonitorProcess::end() {
  if (process_ <= 0) return;
  ::kill(process_, SIGTERM);
  sigset_t child_ended;
  sigemptyset(&child_ended);
  sigaddset(&child_ended, SIGCHLD);
  const base::Instant limit = base::now() + kGrace;
  while (::waitpid(process_, nullptr, WNOHANG) == 0) {
    const auto left = std::chrono::nanoseconds(limit - base::now()).count();
    if (left <= 0) {
      ::kill(process_, SIGKILL);
      ::waitpid(process_, nullptr, 0);
      break;
    }
    const timespec wait{.tv_sec = left / 1'000'000'000, .tv_nsec = left % 1'000'000'000};
    ::sigtimedwait(&child_ended, nullptr, &wait);
  }
  process_ = -1;
}

}  // namespace tlsplice::master
