#include "tlsplice/master/master.hpp"

#include <poll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <thread>

#include "desk.hpp"
#include "monitor_process.hpp"
#include "workers.hpp"

namespace tlsplice::master {
namespace {

using base::Error;
using base::Instant;
using base::Milliseconds;
using base::Result;

// A flow takes two descriptors, and two more for each direction that splices.
constexpr std::uint64_t kDescriptorsPerFlow = 6;
constexpr std::uint64_t kDescriptorsBesides = 1024;
// Beyond the drain timeout, before a worker that does not end is killed.
constexpr Milliseconds kGrace{5000};

class Master {
 public:
  Master(const policy::Config& config, Prepared& prepared, base::Log log, Workers workers)
      : config_(config),
        prepared_(prepared),
        log_(log),
        workers_(std::move(workers)),
        monitor_(workers_, prepared, log),
        desk_(workers_) {}

  Result<void> open();
  int serve();

 private:
  void wait_for_something();
  void obey(int signal);
  void end(int signal_for_workers, Milliseconds limit);
  void bury();
  void note_ready_workers();
  Milliseconds until_next() const;

  const policy::Config& config_;
  const Prepared& prepared_;
  base::Log log_;
  Workers workers_;
  MonitorProcess monitor_;
  Desk desk_;
  base::Fd signals_;
  State state_ = State::kStarting;
  Instant kill_at_ = Instant::max();
  int exit_status_ = 0;
};

/// Everything that can fail for reasons of the machine, before the first worker.
Result<void> Master::open() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGHUP, SIGCHLD})
    sigaddset(&signals, signal);
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);  // an access log at its limit costs lines, not workers
  signals_ = base::Fd(::signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!signals_) return base::fail(Error::system("open a signalfd", errno));
  if (auto opened = workers_.open(); !opened) return opened;
  if (auto opened = desk_.open(config_.admin, log_); !opened) return opened;
  if (auto opened = monitor_.open(config_.metrics); !opened) return opened;
  workers_.on_fork([this] {
    signals_.reset();
    monitor_.abandon();
    desk_.abandon();
  });
  const std::uint64_t wanted = config_.max_flows * kDescriptorsPerFlow + kDescriptorsBesides;
  if (const std::uint64_t limit = raise_descriptor_limit(wanted); limit < wanted) {
    log_.info("descriptor_limit",
              {{"limit", limit},
               {"wanted", wanted},
               {"remedy", "start as root, raise ulimit -n or fs.nr_open, or lower max_flows"}});
  }
  return {};
}

int Master::serve() {
  while (state_ != State::kEnding || workers_.anyone_alive()) {
    if (state_ != State::kEnding) {
      workers_.start_due();
      monitor_.start_due(base::now());
    }
    wait_for_something();
  }
  monitor_.end();
  workers_.counters().write(log_);
  log_.info("stopped", {{"status", exit_status_}});
  return exit_status_;
}

void Master::wait_for_something() {
  std::vector<pollfd> watched = {{.fd = signals_.get(), .events = POLLIN, .revents = 0},
                                 {.fd = workers_.ready(), .events = POLLIN, .revents = 0}};
  desk_.watch(watched);
  ::poll(watched.data(), watched.size(), static_cast<int>(until_next().count()));
  signalfd_siginfo signal{};
  while (::read(signals_.get(), &signal, sizeof signal) == static_cast<ssize_t>(sizeof signal)) {
    obey(static_cast<int>(signal.ssi_signo));
  }
  if (state_ == State::kStarting) note_ready_workers();
  if (state_ == State::kServing) workers_.look();
  desk_.serve();
  if (base::now() >= kill_at_) {
    workers_.signal_all(SIGKILL);
    kill_at_ = Instant::max();
  }
}

void Master::obey(int signal) {
  switch (signal) {
    case SIGCHLD:
      return bury();
    case SIGUSR1:
      return workers_.counters().write(log_);
    case SIGUSR2:
      return workers_.reopen_access_log();
    case SIGHUP:
      return log_.warning("reload_ignored", {{"why", "reloading is not there yet; restart the service"}});
    case SIGTERM:
      if (state_ == State::kEnding) return;
      log_.info("draining", {{"limit_ms", config_.drain_timeout.count()}});
      return end(SIGTERM, config_.drain_timeout + kGrace);
    default:  // SIGINT, SIGQUIT
      log_.info("stopping");
      return end(SIGQUIT, kGrace);
  }
}

void Master::end(int signal_for_workers, Milliseconds limit) {
  state_ = State::kEnding;
  kill_at_ = base::now() + limit;
  workers_.end(signal_for_workers);
}

void Master::bury() {
  int status = 0;
  for (pid_t process = ::waitpid(-1, &status, WNOHANG); process > 0;
       process = ::waitpid(-1, &status, WNOHANG)) {
    if (monitor_.bury(process, status, base::now())) continue;
    if (workers_.bury(process, status, state_) != Workers::Death::kUntimely) continue;
    // One that never served would fail the same way again.
    if (state_ != State::kServing) exit_status_ = 1;
    if (state_ == State::kStarting) end(SIGQUIT, kGrace);
  }
}

void Master::note_ready_workers() {
  if (!workers_.all_are_ready()) return;
  state_ = State::kServing;
  for (const Prepared::Listener& listener : prepared_.listeners) {
    log_.info("listening", {{"listener", listener.service.name},
                            {"protocol", policy::to_string(listener.service.protocol)},
                            {"address", listener.address.text()}});
  }
  log_.info("serving", {{"workers", workers_.count()}, {"listeners", prepared_.listeners.size()}});
}

/// How long to sleep at most. A minute when nothing is due.
Milliseconds Master::until_next() const {
  Instant next = std::min({kill_at_, desk_.next_deadline(), base::now() + std::chrono::minutes(1)});
  if (state_ != State::kEnding) next = std::min({next, workers_.next_start(), monitor_.next_start()});
  if (state_ == State::kServing) next = std::min(next, workers_.next_look());
  const auto wait = std::chrono::ceil<Milliseconds>(next - base::now());
  return std::max(wait, Milliseconds(0));
}

}  // namespace

int run(const policy::Config& config, Prepared prepared, base::Log log) {
  const std::size_t workers =
      config.workers != 0 ? config.workers : std::max(1U, std::thread::hardware_concurrency());
  observe::Shape shape = prepared.numbers;
  shape.workers = workers;
  Numbers numbers(shape);
  auto counters = observe::CounterTable::create(shape, numbers.backing());
  auto identity = identity_of(config.user);
  for (const auto* error : {counters ? nullptr : &counters.error(), identity ? nullptr : &identity.error()}) {
    if (error == nullptr) continue;
    log.error("not_started", {{"error", error->text()}});
    return 1;
  }
  auto doors = Doors::open(prepared, workers, config.steering, numbers, log);
  if (!doors) {
    log.error("not_started", {{"error", doors.error().text()}});
    return 1;
  }
  numbers.pin(config.bpf_directory, log);
  Master master(
      config, prepared, log,
      Workers(config, prepared, log, std::move(*counters), std::move(*doors), std::move(numbers), *identity));
  if (auto opened = master.open(); !opened) {
    log.error("not_started", {{"error", opened.error().text()}});
    return 1;
  }
  return master.serve();
}

}  // namespace tlsplice::master
