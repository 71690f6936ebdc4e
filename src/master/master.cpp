#include "tlsplice/master/master.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <thread>

#include "backoff.hpp"
#include "privileges.hpp"
#include "tlsplice/base/memory.hpp"
#include "tlsplice/net/socket.hpp"
#include "tlsplice/worker/worker.hpp"

namespace tlsplice::master {
namespace {

using base::Error;
using base::Instant;
using base::Milliseconds;
using base::Result;

// Held back by each worker: what its running flows may still need after memory has run out.
constexpr std::size_t kWorkerMemoryReserve = 8 * 1024 * 1024;
// A flow takes two descriptors, and two more for each direction that splices.
constexpr std::uint64_t kDescriptorsPerFlow = 6;
constexpr std::uint64_t kDescriptorsBesides = 1024;
// Beyond the drain timeout, before a worker that does not end is killed.
constexpr Milliseconds kGrace{5000};

/// One place for a worker, and who holds it now.
///
///   starting --(forked)--> running --(died)--> pausing --(pause over)--> starting
///                             `------(drain, stop: exited)--> gone
struct Slot {
  std::vector<base::Fd>
      listeners;       // one for each listener of the configuration, kept over the workers' deaths
  pid_t process = -1;  // -1: pausing or gone
  Instant started;
  Instant due;  // of the next start, when pausing
  Backoff backoff;
};

class Master {
 public:
  Master(const policy::Config& config, const Prepared& prepared, base::Log log,
         observe::CounterTable counters, std::optional<Identity> identity);

  Result<void> open();
  int serve();

 private:
  enum class State : std::uint8_t { kStarting, kServing, kEnding };

  Result<void> open(const Prepared::Listener& listener);
  void wait_for_something();
  void obey(int signal);
  void end(int signal_for_workers, Milliseconds limit);
  void start_due_workers();
  bool start(std::size_t index);
  [[noreturn]] void become_worker(std::size_t index, pid_t master);
  void bury();
  void bury(std::size_t index, int status);
  void note_ready_workers();
  bool anyone_alive() const;
  Milliseconds until_next() const;

  const policy::Config& config_;
  const Prepared& prepared_;
  base::Log log_;
  observe::CounterTable counters_;
  std::optional<Identity> identity_;
  std::uint64_t flow_hash_seed_ = 0;
  base::Fd signals_;
  base::Fd ready_;
  std::vector<Slot> slots_;
  std::uint64_t ready_workers_ = 0;
  State state_ = State::kStarting;
  Instant kill_at_ = Instant::max();
  int exit_status_ = 0;
};

Master::Master(const policy::Config& config, const Prepared& prepared, base::Log log,
               observe::CounterTable counters, std::optional<Identity> identity)
    : config_(config),
      prepared_(prepared),
      log_(log),
      counters_(std::move(counters)),
      identity_(identity),
      slots_(counters_.workers()) {
  if (::getrandom(&flow_hash_seed_, sizeof flow_hash_seed_, 0) < 0) flow_hash_seed_ = 0;
}

/// Everything that can fail for reasons of the machine, before the first worker.
Result<void> Master::open() {
  for (const Prepared::Listener& listener : prepared_.listeners) {
    if (auto opened = open(listener); !opened) {
      opened.error().detail = fmt::format("listener {}: {}", listener.service.name, opened.error().detail);
      return opened;
    }
  }
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGHUP, SIGCHLD}) sigaddset(&signals, signal);
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  signals_ = base::Fd(::signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC));
  ready_ = base::Fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!signals_ || !ready_) return base::fail(Error::system("open signalfd and eventfd", errno));
  const std::uint64_t wanted = config_.max_flows * kDescriptorsPerFlow + kDescriptorsBesides;
  if (const std::uint64_t limit = raise_descriptor_limit(wanted); limit < wanted) {
    log_.info("descriptor_limit",
              {{"limit", limit},
               {"wanted", wanted},
               {"remedy", "start as root, raise ulimit -n or fs.nr_open, or lower max_flows"}});
  }
  return {};
}

Result<void> Master::open(const Prepared::Listener& listener) {
  if (auto free = net::expect_free(listener.address); !free) return free;
  for (Slot& slot : slots_) {
    auto socket = net::listen(listener.address);
    if (!socket) return base::fail(socket.error());
    slot.listeners.push_back(std::move(*socket));
  }
  return {};
}

int Master::serve() {
  while (state_ != State::kEnding || anyone_alive()) {
    start_due_workers();
    wait_for_something();
  }
  counters_.write(log_);
  log_.info("stopped", {{"status", exit_status_}});
  return exit_status_;
}

void Master::wait_for_something() {
  pollfd watched[] = {{.fd = signals_.get(), .events = POLLIN, .revents = 0},
                      {.fd = ready_.get(), .events = POLLIN, .revents = 0}};
  ::poll(watched, 2, static_cast<int>(until_next().count()));
  signalfd_siginfo signal{};
  while (::read(signals_.get(), &signal, sizeof signal) == static_cast<ssize_t>(sizeof signal)) {
    obey(static_cast<int>(signal.ssi_signo));
  }
  note_ready_workers();
  if (base::now() >= kill_at_) {
    for (const Slot& slot : slots_) {
      if (slot.process > 0) ::kill(slot.process, SIGKILL);
    }
    kill_at_ = Instant::max();
  }
}

void Master::obey(int signal) {
  switch (signal) {
    case SIGCHLD:
      return bury();
    case SIGUSR1:
      return counters_.write(log_);
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
  for (Slot& slot : slots_) {
    // Our copies first: a listening socket ends when the worker closes the last one, after it has emptied the
    // queue.
    slot.listeners.clear();
    if (slot.process > 0) ::kill(slot.process, signal_for_workers);
  }
}

void Master::start_due_workers() {
  if (state_ == State::kEnding) return;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    if (slot.process > 0 || base::now() < slot.due) continue;
    if (!start(i)) slot.due = base::now() + Backoff::kFirstPause;
  }
}

bool Master::start(std::size_t index) {
  const pid_t master = ::getpid();
  const pid_t process = ::fork();
  if (process == 0) become_worker(index, master);
  if (process < 0) {
    log_.error("fork_failed", {{"worker", index}, {"error", Error::system("fork", errno).text()}});
    return false;
  }
  slots_[index].process = process;
  slots_[index].started = base::now();
  log_.info("worker_started", {{"worker", index}, {"worker_pid", process}});
  return true;
}

/// In the child. What the master holds and this worker has no business with is closed first.
void Master::become_worker(std::size_t index, pid_t master) {
  std::vector<worker::Door> doors;
  for (std::size_t i = 0; i < prepared_.listeners.size(); ++i) {
    doors.push_back({std::move(slots_[index].listeners[i]), &prepared_.listeners[i].service});
  }
  for (Slot& slot : slots_) slot.listeners.clear();
  signals_.reset();
  base::hold_memory_reserve(kWorkerMemoryReserve);
  if (auto dropped = drop_privileges(identity_, master); !dropped) {
    log_.error("worker_failed", {{"error", dropped.error().text()}});
    std::exit(1);
  }
  std::exit(worker::run({.index = index,
                         .doors = std::move(doors),
                         .log = log_,
                         .counters = counters_,
                         .target_context = *prepared_.target_context,
                         .kernel = prepared_.kernel,
                         .records_per_key = config_.key_update_after,
                         .flow_hash_seed = flow_hash_seed_,
                         .max_flows = config_.max_flows,
                         .drain_timeout = config_.drain_timeout,
                         .ready = ready_.get()}));
}

void Master::bury() {
  int status = 0;
  for (pid_t process = ::waitpid(-1, &status, WNOHANG); process > 0;
       process = ::waitpid(-1, &status, WNOHANG)) {
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i].process == process) bury(i, status);
    }
  }
}

void Master::bury(std::size_t index, int status) {
  Slot& slot = slots_[index];
  const pid_t process = std::exchange(slot.process, -1);
  // Nobody else writes this slot now.
  observe::Counters counters = counters_.worker(index);
  using C = tlsplice_counters;
  for (const observe::Counter active :
       {&C::ActiveFlowCount, &C::ActiveFlowCount_TLS, &C::ActiveFlowCount_TCP}) {
    counters.set(active, 0);
  }
  const bool clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  if (clean && state_ == State::kEnding) return;
  const auto lived = std::chrono::duration_cast<Milliseconds>(base::now() - slot.started);
  const Milliseconds pause = slot.backoff.after_death(lived);
  slot.due = base::now() + pause;
  counters.add(&C::WorkerDeathCount);
  log_.error("worker_died", {{"worker", index},
                             {"worker_pid", process},
                             {WIFSIGNALED(status) ? "signal" : "status",
                              WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)},
                             {"lived_ms", lived.count()},
                             {"pause_ms", pause.count()}});
  if (state_ == State::kEnding) {
    exit_status_ = 1;
  } else if (state_ == State::kStarting) {
    // It never served: starting it again would fail the same way.
    exit_status_ = 1;
    end(SIGQUIT, kGrace);
  }
}

void Master::note_ready_workers() {
  eventfd_t ready = 0;
  if (::eventfd_read(ready_.get(), &ready) != 0) return;
  ready_workers_ += ready;
  if (state_ != State::kStarting || ready_workers_ < slots_.size()) return;
  state_ = State::kServing;
  for (const Prepared::Listener& listener : prepared_.listeners) {
    log_.info("listening", {{"listener", listener.service.name},
                            {"protocol", policy::to_string(listener.service.protocol)},
                            {"address", listener.address.text()}});
  }
  log_.info("serving", {{"workers", slots_.size()}, {"listeners", prepared_.listeners.size()}});
}

bool Master::anyone_alive() const {
  for (const Slot& slot : slots_) {
    if (slot.process > 0) return true;
  }
  return false;
}

/// How long to sleep at most. A minute when nothing is due.
Milliseconds Master::until_next() const {
  Instant next = std::min(kill_at_, base::now() + std::chrono::minutes(1));
  for (const Slot& slot : slots_) {
    if (slot.process < 0 && state_ != State::kEnding) next = std::min(next, slot.due);
  }
  const auto wait = std::chrono::ceil<Milliseconds>(next - base::now());
  return std::max(wait, Milliseconds(0));
}

}  // namespace

int run(const policy::Config& config, const Prepared& prepared, base::Log log) {
  const std::size_t workers =
      config.workers != 0 ? config.workers : std::max(1U, std::thread::hardware_concurrency());
  auto counters = observe::CounterTable::create(workers);
  auto identity = identity_of(config.user);
  for (const auto* error : {counters ? nullptr : &counters.error(), identity ? nullptr : &identity.error()}) {
    if (error == nullptr) continue;
    log.error("not_started", {{"error", error->text()}});
    return 1;
  }
  Master master(config, prepared, log, std::move(*counters), *identity);
  if (auto opened = master.open(); !opened) {
    log.error("not_started", {{"error", opened.error().text()}});
    return 1;
  }
  return master.serve();
}

}  // namespace tlsplice::master
