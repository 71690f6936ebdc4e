#include "monitor_process.hpp"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <utility>

#include "tlsplice/monitor/monitor.hpp"
#include "tlsplice/net/socket.hpp"

namespace tlsplice::master {

using base::Error;
using base::Milliseconds;
using base::Result;

Result<void> MonitorProcess::prepare(const policy::MetricsSettings& settings, base::Log& log) {
  next_listening_.reset();
  next_address_ = settings.address;
  if (!settings.address || settings.address == address_) return {};
  const auto& [host, port] = *settings.address;
  auto socket = net::listen_alone(net::Address::parse(host, port).value());  // checked with the whole file
  if (socket) {
    next_listening_ = std::move(*socket);
    log.info("metrics", {{"url", fmt::format("http://{}/metrics", policy::to_string(*settings.address))}});
    return {};
  }
  next_address_.reset();
  if (!settings.is_default) {
    socket.error().detail = fmt::format("metrics.address: {}", socket.error().detail);
    return base::fail(std::move(socket.error()));
  }
  log.warning("no_metrics", {{"why", socket.error().text()},
                             {"remedy", "set [metrics] address to one that is free, or to \"off\""}});
  return {};
}

void MonitorProcess::adopt(Generation& generation) {
  generation_ = &generation;
  if (next_address_ != address_) {
    address_ = next_address_;
    listening_ = std::move(next_listening_);
  }
  due_ = base::now();
  if (process_ <= 0) return;
  replaced_ = true;
  ::kill(process_, SIGTERM);
}

bool MonitorProcess::wanted() const {
  if (generation_ == nullptr)
    return false;  // what a predecessor left has its numbers, and nobody to show them
  return listening_ ||
         std::ranges::any_of(generation_->prepared.groups, [](const targets::WatchedGroup& watched) {
           return watched.checked() && !watched.group.targets.empty();
         });
}

void MonitorProcess::start_due(base::Instant now) {
  if (now < next_start()) return;
  const pid_t master = ::getpid();
  const pid_t process = ::fork();
  if (process == 0) become_monitor(master);
  if (process < 0) {
    due_ = now + Backoff::kFirstPause;
    return log().error("monitor_fork_failed", {{"error", Error::system("fork", errno).text()}});
  }
  process_ = process;
  started_ = now;
  log().info("monitor_started", {{"monitor_pid", process}});
}

/// In the child. It speaks HTTP with strangers, and with targets, so it has nothing that could be taken from
/// it: no key, no listening socket but its own, no channel to a worker.
void MonitorProcess::become_monitor(pid_t master) {
  base::Fd listening = std::move(listening_);
  generations_.abandon();
  generation_->prepared.forget_keys();
  Workers& workers = *generation_->workers;
  if (auto dropped = drop_privileges(workers.identity(), master); !dropped) {
    log().error("monitor_failed", {{"error", dropped.error().text()}});
    std::exit(1);
  }
  std::exit(monitor::run({.listening = std::move(listening),
                          .numbers = {.counters = workers.counters(),
                                      .loads = workers.loads(),
                                      .outcomes = workers.outcomes(),
                                      .health = workers.health(),
                                      .library = tls::library_version(),
                                      .started = service_started_},
                          .groups = generation_->prepared.groups,
                          .log = log()}));
}

bool MonitorProcess::bury(pid_t process, int status, base::Instant now) {
  if (process != process_) return false;
  process_ = -1;
  if (std::exchange(replaced_, false)) {
    due_ = now;
    return true;
  }
  const auto lived = std::chrono::duration_cast<Milliseconds>(now - started_);
  const Milliseconds pause = backoff_.after_death(lived);
  due_ = now + pause;
  generation_->workers->counters().worker(0).add(&tlsplice_counters::MonitorDeathCount);
  log().error("monitor_died", {{"monitor_pid", process},
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
