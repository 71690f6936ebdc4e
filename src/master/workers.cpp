#include "workers.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <thread>

#include "tlsplice/base/memory.hpp"
#include "tlsplice/master/client_ip.hpp"
#include "tlsplice/worker/worker.hpp"

namespace tlsplice::master {
namespace {

// Held back by each worker: what its running flows may still need after memory has run out.
constexpr std::size_t kWorkerMemoryReserve = 8 * 1024 * 1024;

}  // namespace

using base::Error;
using base::Milliseconds;
using base::Result;

Workers::Workers(const policy::Config& config, const Prepared& prepared, base::Log log,
                 std::uint64_t flow_hash_seed, observe::CounterTable counters, targets::HealthTable health,
                 Doors doors, Numbers numbers, std::optional<Identity> identity)
    : config_(config),
      prepared_(prepared),
      log_(log),
      counters_(std::move(counters)),
      health_(std::move(health)),
      doors_(std::move(doors)),
      numbers_(std::move(numbers)),
      identity_(identity),
      cpus_(steering::plan_cpus(counters_.workers())),
      flow_hash_seed_(flow_hash_seed),
      slots_(counters_.workers()) {}

Result<Workers> Workers::open(const policy::Config& config, const Prepared& prepared, base::Log log,
                              std::uint64_t flow_hash_seed, const Workers* before, GivenSockets& given) {
  observe::Shape shape = prepared.numbers;
  shape.workers = config.workers != 0 ? config.workers : std::max(1U, std::thread::hardware_concurrency());
  auto identity = identity_of(config.user);
  if (!identity) return base::fail(std::move(identity.error()));
  Numbers numbers(shape, prepared.groups.size());
  auto counters = observe::CounterTable::create(shape, numbers.backing());
  if (!counters) return base::fail(std::move(counters.error()));
  auto health = targets::HealthTable::create(prepared.groups, numbers.health_backing());
  if (!health) return base::fail(std::move(health.error()));
  if (before != nullptr) health->go_on_from(before->health_, prepared.groups);
  auto doors = Doors::open(prepared, shape.workers, config.steering, numbers,
                           before != nullptr ? &before->doors_ : nullptr, given);
  if (!doors) return base::fail(std::move(doors.error()));
  Workers workers(config, prepared, log, flow_hash_seed, std::move(*counters), std::move(*health),
                  std::move(*doors), std::move(numbers), *identity);
  if (auto opened = workers.open_descriptors(); !opened) return base::fail(std::move(opened.error()));
  return workers;
}

Result<void> Workers::open_descriptors() {
  ready_ = base::Fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!ready_) return base::fail(Error::system("open an eventfd", errno));
  if (config_.access_log.file.empty()) return {};
  auto opened = observe::open_access_log(config_.access_log.file);
  if (!opened) return base::fail(std::move(opened.error()));
  access_log_ = std::move(*opened);
  return {};
}

void Workers::enter(Workers* before) {
  numbers_.pin(config_.bpf_directory, before != nullptr ? &before->numbers_ : nullptr, log_);
  doors_.enter(config_.steering, before != nullptr ? &before->doors_ : nullptr, log_);
  state_ = State::kServing;
  for (std::size_t i = 0; i < slots_.size(); ++i) serve(i);
}

void Workers::serve(std::size_t index) {
  if (slots_[index].process < 0) return;  // its successor is told when it starts
  if (auto told = admin::send(slots_[index].channel.get(), {admin::Order::kServe}); !told)
    log_.error("worker_failed", {{"worker", index}, {"error", told.error().text()}});
}

void Workers::retire() {
  state_ = State::kRetired;
  numbers_.abandon();
  doors_.clear();  // a socket that nobody else has ends when its worker has emptied the queue
  signal_all(SIGHUP);
}

void Workers::end(int signal) {
  state_ = State::kEnding;
  doors_.clear();
  signal_all(signal);
}

void Workers::abandon() {
  for (Slot& slot : slots_) slot.channel.reset();
  doors_.abandon();
  forget_backing();
  ready_.reset();
  access_log_.reset();
}

/// In a child: the rows stay, what they lie in and the files that show them are the master's.
void Workers::forget_backing() {
  numbers_.abandon();
  counters_.forget_backing();
  health_.forget_backing();
}

void Workers::start_due() {
  if (adopted_ || state_ == State::kRetired || state_ == State::kEnding) return;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    if (slot.process > 0 || base::now() < slot.due) continue;
    if (!start(i)) slot.due = base::now() + Backoff::kFirstPause;
  }
}

bool Workers::start(std::size_t index) {
  if (state_ == State::kServing && doors_.is_shut(index)) {
    if (auto reopened = doors_.reopen(index); !reopened) {
      log_.error("listen_failed", {{"worker", index}, {"error", reopened.error().text()}});
      return false;
    }
  }
  auto channel = admin::make_channel();
  if (!channel) {
    log_.error("fork_failed", {{"worker", index}, {"error", channel.error().text()}});
    return false;
  }
  const pid_t master = ::getpid();
  const pid_t process = ::fork();
  if (process == 0) become_worker(index, std::move(channel->worker), master);
  if (process < 0) {
    log_.error("fork_failed", {{"worker", index}, {"error", Error::system("fork", errno).text()}});
    return false;
  }
  Slot& slot = slots_[index];
  slot.process = process;
  slot.channel = std::move(channel->master);
  slot.started = base::now();
  slot.watch = {};
  slot.stuck = false;
  log_.info("worker_started", {{"worker", index}, {"worker_pid", process}});
  if (state_ == State::kServing) serve(index);
  return true;
}

/// In the child. What the master holds and this worker has no business with is closed first.
void Workers::become_worker(std::size_t index, base::Fd channel, pid_t master) {
  give_up_();
  for (Slot& slot : slots_) slot.channel.reset();
  std::vector<worker::Door> doors;
  for (base::Fd& socket : doors_.take(index)) {
    doors.push_back({std::move(socket), &prepared_.listeners[doors.size()].service});
  }
  forget_backing();
  stay_on_cpu(index, 0);
  base::hold_memory_reserve(kWorkerMemoryReserve);
  const bool speaks_as_clients = !targets_that_see_clients(config_).empty();
  const Keep keep = speaks_as_clients ? Keep::kNetRaw : Keep::kNothing;
  if (auto dropped = drop_privileges(identity_, master, keep); !dropped) {
    log_.error("worker_failed", {{"error", dropped.error().text()}});
    std::exit(1);
  }
  std::exit(worker::run({.index = index,
                         .doors = std::move(doors),
                         .log = log_,
                         .counters = counters_,
                         .load = doors_.load(index),
                         .steering = doors_.outcomes(),
                         .health = health_,
                         .target_context = *prepared_.target_context,
                         .kernel = prepared_.kernel,
                         .records_per_key = config_.key_update_after,
                         .flow_hash_seed = flow_hash_seed_,
                         .max_flows = config_.max_flows,
                         .drain_timeout = config_.drain_timeout,
                         .ready = ready_.get(),
                         .channel = std::move(channel),
                         .access_log = access_log()}));
}

/// In the child.
observe::AccessLog Workers::access_log() {
  // In the order of policy::AccessLogFormat.
  static constexpr observe::AccessLogFormat kFormats[] = {observe::AccessLogFormat::kVersion1,
                                                          observe::AccessLogFormat::kVersion2,
                                                          observe::AccessLogFormat::kJson};
  const policy::AccessLogSettings& settings = config_.access_log;
  return {std::move(access_log_), kFormats[static_cast<std::size_t>(settings.format)],
          policy::load_balancer_of(config_)};
}

void Workers::reopen_access_log() {
  const std::string& file = config_.access_log.file;
  if (file.empty()) return;
  auto opened = observe::open_access_log(file);
  if (!opened) {
    return log_.error("access_log_not_reopened",
                      {{"error", opened.error().text()}, {"remedy", "mend it and send SIGUSR1 again"}});
  }
  access_log_ = std::move(*opened);
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].process < 0) continue;  // its successor inherits it
    base::Fd copy(::fcntl(access_log_.get(), F_DUPFD_CLOEXEC, 0));
    auto sent = copy ? admin::send(slots_[i].channel.get(), {admin::Order::kAccessLog, std::move(copy)})
                     : base::fail(Error::system("copy a descriptor", errno));
    if (sent) continue;
    log_.error("access_log_not_reopened",
               {{"worker", i}, {"error", sent.error().text()}, {"remedy", "send SIGUSR1 again"}});
  }
  log_.info("access_log_reopened", {{"file", file}});
}

Workers::Death Workers::bury(pid_t process, int status) {
  const auto found = std::ranges::find(slots_, process, &Slot::process);
  if (found == slots_.end()) return Death::kNotOurs;
  const auto index = static_cast<std::size_t>(found - slots_.begin());
  Slot& slot = *found;
  slot.process = -1;
  slot.channel.reset();
  counters_.bury(index);  // nobody else writes its rows now
  doors_.load(index).end();
  const bool clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  if (clean && (state_ == State::kEnding || state_ == State::kRetired)) return Death::kInOrder;
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
  return Death::kUntimely;
}

bool Workers::all_have_closed() const {
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].process > 0 && !doors_.load(i).has_closed_doors()) return false;
  }
  return true;
}

bool Workers::all_are_ready() {
  eventfd_t ready = 0;
  if (::eventfd_read(ready_.get(), &ready) == 0) ready_count_ += ready;
  return ready_count_ >= slots_.size();
}

void Workers::look() {
  const base::Instant now = base::now();
  if (adopted_ || state_ != State::kServing || now < next_look_) return;
  next_look_ = now + Watch::kBetweenLooks;
  follow_cpus();
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

/// The process of that worker, 0: the caller, on the CPU whose connections it gets.
void Workers::stay_on_cpu(std::size_t index, pid_t process) {
  if (config_.steering != policy::Steering::kCpu) return;
  auto stays = steering::stay_on(cpus_.cpu_of_worker[index], process);
  if (!stays) log_.warning("worker_not_pinned", {{"worker", index}, {"error", stays.error().text()}});
}

/// CPUs come and go. The kernel itself moves a process whose only CPU goes, and leaves it where it is when
/// that CPU is back.
void Workers::follow_cpus() {
  if (config_.steering != policy::Steering::kCpu) return;
  auto now = steering::plan_cpus(slots_.size());
  if (now == cpus_) return;
  cpus_ = std::move(now);
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].process > 0) stay_on_cpu(i, slots_[i].process);
  }
  auto followed = doors_.follow(cpus_);
  if (!followed) return log_.error("cpus_not_followed", {{"error", followed.error().text()}});
  const auto ours = [](std::uint32_t worker) { return worker != TLSPLICE_STEER_NO_WORKER; };
  log_.info("cpus_changed", {{"cpus", std::ranges::count_if(cpus_.worker_of_cpu, ours)}});
}

void Workers::note_stuck(std::size_t index) {
  Slot& slot = slots_[index];
  slot.stuck = true;
  log_.error("worker_stuck",
             {{"worker", index},
              {"worker_pid", slot.process},
              {"silent_ms", slot.watch.silent().count()},
              {"remedy", "see what it does (is it stopped? gdb -p); kill -KILL it and it is replaced"}});
}

void Workers::note_back(std::size_t index) {
  if (doors_.is_shut(index)) {
    if (auto reopened = doors_.reopen(index); !reopened) {
      return log_.error("listen_failed", {{"worker", index}, {"error", reopened.error().text()}});
    }
  }
  slots_[index].stuck = false;
  log_.info("worker_back", {{"worker", index}, {"worker_pid", slots_[index].process}});
}

/// If there is somebody to take it. Otherwise it waits for the worker or its successor.
void Workers::give_queue_away(std::size_t index) {
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (i == index || slots_[i].process <= 0 || slots_[i].watch.stuck()) continue;
    if (doors_.shut(index)) log_.info("queue_given_away", {{"worker", index}});
    return;
  }
}

void Workers::signal_all(int signal) const {
  for (const Slot& slot : slots_) {
    if (slot.process > 0) ::kill(slot.process, signal);
  }
}

void Workers::end_flows(std::string_view group, std::string_view target) {
  const auto rows = counters_.target_rows();
  for (std::size_t i = 0; i < rows.size(); i += counters_.stride()) {
    if (targets::word(rows[i].target_group) != group || targets::word(rows[i].target) != target) continue;
    tell_all(admin::Order::kEndFlows, i / counters_.stride());
  }
}

void Workers::end_share(std::string_view listener, std::string_view group) {
  const auto& [listeners, groups] = std::tie(config_.listeners, config_.target_groups);
  const auto listener_row =
      std::ranges::find(listeners, listener, &policy::Listener::name) - listeners.begin();
  const auto group_row = std::ranges::find(groups, group, &policy::TargetGroup::name) - groups.begin();
  if (listener_row == std::ssize(listeners) || group_row == std::ssize(groups)) return;
  tell_all(admin::Order::kEndShare, static_cast<std::size_t>(listener_row << 16 | group_row));
}

void Workers::tell_all(admin::Order order, std::size_t number) {
  for (std::size_t worker = 0; worker < slots_.size(); ++worker) {
    if (slots_[worker].process < 0) continue;
    auto told = admin::send(slots_[worker].channel.get(), {order, {}, static_cast<std::uint32_t>(number)});
    if (!told) log_.error("flows_not_ended", {{"worker", worker}, {"error", told.error().text()}});
  }
}

bool Workers::anyone_alive() const {
  return std::ranges::any_of(slots_, [](const Slot& slot) { return slot.process > 0; });
}

base::Instant Workers::next_deadline() const {
  if (adopted_ || state_ == State::kRetired || state_ == State::kEnding) return base::Instant::max();
  base::Instant next = state_ == State::kServing ? next_look_ : base::Instant::max();
  for (const Slot& slot : slots_) {
    if (slot.process < 0) next = std::min(next, slot.due);
  }
  return next;
}

}  // namespace tlsplice::master
