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
#include "doors.hpp"
#include "numbers.hpp"
#include "privileges.hpp"
#include "tlsplice/base/memory.hpp"
#include "tlsplice/worker/worker.hpp"
#include "watch.hpp"

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
  pid_t process = -1;  // -1: pausing or gone
  Instant started;
  Instant due;  // of the next start, when pausing
  Backoff backoff;
  Watch watch;
  bool stuck = false;  // and we said so
};

class Master {
 public:
  Master(const policy::Config& config, const Prepared& prepared, base::Log log,
         observe::CounterTable counters, Doors doors, Numbers numbers, std::optional<Identity> identity);

  Result<void> open();
  int serve();

 private:
  enum class State : std::uint8_t { kStarting, kServing, kEnding };

  void wait_for_something();
  void obey(int signal);
  void end(int signal_for_workers, Milliseconds limit);
  void start_due_workers();
  bool start(std::size_t index);
  [[noreturn]] void become_worker(std::size_t index, pid_t master);
  void bury();
  void bury(std::size_t index, int status);
  void note_ready_workers();
  void look_at_workers();
  void note_stuck(std::size_t index);
  void note_back(std::size_t index);
  void give_queue_away(std::size_t index);
  bool anyone_alive() const;
  Milliseconds until_next() const;

  const policy::Config& config_;
  const Prepared& prepared_;
  base::Log log_;
  observe::CounterTable counters_;
  Doors doors_;
  Numbers numbers_;
  std::optional<Identity> identity_;
  steering::CpuPlan cpus_;
  std::uint64_t flow_hash_seed_ = 0;
  base::Fd signals_;
  base::Fd ready_;
  std::vector<Slot> slots_;
  std::uint64_t ready_workers_ = 0;
  State state_ = State::kStarting;
  Instant next_look_{};
  Instant kill_at_ = Instant::max();
  int exit_status_ = 0;
};

Master::Master(const policy::Config& config, const Prepared& prepared, base::Log log,
               observe::CounterTable counters, Doors doors, Numbers numbers, std::optional<Identity> identity)
    : config_(config),
      prepared_(prepared),
      log_(log),
      counters_(std::move(counters)),
      doors_(std::move(doors)),
      numbers_(std::move(numbers)),
      identity_(identity),
      cpus_(steering::plan_cpus(counters_.workers())),
      slots_(counters_.workers()) {
  if (::getrandom(&flow_hash_seed_, sizeof flow_hash_seed_, 0) < 0) flow_hash_seed_ = 0;
}

/// Everything that can fail for reasons of the machine, before the first worker.
Result<void> Master::open() {
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
  look_at_workers();
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
  // Our copies first: a listening socket ends when the worker closes the last one, after it has emptied the
  // queue.
  doors_.clear();
  for (const Slot& slot : slots_) {
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
  if (doors_.is_shut(index)) {
    if (auto reopened = doors_.reopen(index); !reopened) {
      log_.error("listen_failed", {{"worker", index}, {"error", reopened.error().text()}});
      return false;
    }
  }
  const pid_t master = ::getpid();
  const pid_t process = ::fork();
  if (process == 0) become_worker(index, master);
  if (process < 0) {
    log_.error("fork_failed", {{"worker", index}, {"error", Error::system("fork", errno).text()}});
    return false;
  }
  slots_[index].process = process;
  slots_[index].started = base::now();
  slots_[index].watch = {};
  slots_[index].stuck = false;
  log_.info("worker_started", {{"worker", index}, {"worker_pid", process}});
  return true;
}

/// In the child. What the master holds and this worker has no business with is closed first.
void Master::become_worker(std::size_t index, pid_t master) {
  std::vector<worker::Door> doors;
  for (base::Fd& socket : doors_.take(index)) {
    doors.push_back({std::move(socket), &prepared_.listeners[doors.size()].service});
  }
  signals_.reset();
  numbers_.abandon();
  if (config_.steering == policy::Steering::kCpu) {
    auto stays = steering::stay_on(cpus_.cpu_of_worker[index]);
    if (!stays) log_.warning("worker_not_pinned", {{"worker", index}, {"error", stays.error().text()}});
  }
  base::hold_memory_reserve(kWorkerMemoryReserve);
  if (auto dropped = drop_privileges(identity_, master); !dropped) {
    log_.error("worker_failed", {{"error", dropped.error().text()}});
    std::exit(1);
  }
  std::exit(worker::run({.index = index,
                         .doors = std::move(doors),
                         .log = log_,
                         .counters = counters_,
                         .load = doors_.load(index),
                         .steering = doors_.outcomes(),
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
  counters_.bury(index);  // nobody else writes its rows now
  doors_.load(index).end();
  const bool clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  if (clean && state_ == State::kEnding) return;
  const auto lived = std::chrono::duration_cast<Milliseconds>(base::now() - slot.started);
  const Milliseconds pause = slot.backoff.after_death(lived);
  slot.due = base::now() + pause;
  if (pause > Milliseconds(0) && state_ == State::kServing) give_queue_away(index);
  counters_.worker(index).add(&tlsplice_counters::WorkerDeathCount);
  doors_.load(index).restarted();
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

/// Who is stuck, and who no longer is. Only while all is well otherwise: at the start and at the end workers
/// are watched by their processes' ends.
void Master::look_at_workers() {
  const Instant now = base::now();
  if (state_ != State::kServing || now < next_look_) return;
  next_look_ = now + Watch::kBetweenLooks;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    if (slot.process > 0) slot.watch.look(doors_.load(i).heartbeat(), now);
  }
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const Slot& slot = slots_[i];
    if (slot.process > 0 && slot.stuck != slot.watch.stuck()) slot.stuck ? note_back(i) : note_stuck(i);
    const bool absent = slot.process < 0 || slot.stuck;
    if (absent && !doors_.is_shut(i)) give_queue_away(i);  // now, or as soon as somebody is there to take it
  }
}

void Master::note_stuck(std::size_t index) {
  Slot& slot = slots_[index];
  slot.stuck = true;
  log_.error("worker_stuck",
             {{"worker", index},
              {"worker_pid", slot.process},
              {"silent_ms", slot.watch.silent().count()},
              {"remedy", "see what it does (is it stopped? gdb -p); kill -KILL it and it is replaced"}});
}

void Master::note_back(std::size_t index) {
  if (doors_.is_shut(index)) {
    if (auto reopened = doors_.reopen(index); !reopened) {
      return log_.error("listen_failed", {{"worker", index}, {"error", reopened.error().text()}});
    }
  }
  slots_[index].stuck = false;
  log_.info("worker_back", {{"worker", index}, {"worker_pid", slots_[index].process}});
}

/// If there is somebody to take it. Otherwise it waits for the worker or its successor.
void Master::give_queue_away(std::size_t index) {
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (i == index || slots_[i].process <= 0 || slots_[i].watch.stuck()) continue;
    if (doors_.shut(index)) log_.info("queue_given_away", {{"worker", index}});
    return;
  }
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
  if (state_ == State::kServing) next = std::min(next, next_look_);
  const auto wait = std::chrono::ceil<Milliseconds>(next - base::now());
  return std::max(wait, Milliseconds(0));
}

}  // namespace

int run(const policy::Config& config, const Prepared& prepared, base::Log log) {
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
  Master master(config, prepared, log, std::move(*counters), std::move(*doors), std::move(numbers),
                *identity);
  if (auto opened = master.open(); !opened) {
    log.error("not_started", {{"error", opened.error().text()}});
    return 1;
  }
  return master.serve();
}

}  // namespace tlsplice::master
