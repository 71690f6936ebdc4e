#include "tlsplice/master/master.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <memory>
#include <sstream>
#include <utility>

#include "answers.hpp"
#include "desk.hpp"
#include "generations.hpp"
#include "monitor_process.hpp"
#include "named_targets.hpp"
#include "privileges.hpp"
#include "service_manager.hpp"
#include "upgrade.hpp"
#include "withdrawals.hpp"

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

/// Of mistakes that stand nowhere in the file, or whose text says where.
std::vector<std::string> lines_of(const Generations::Mistakes& mistakes) {
  std::vector<std::string> lines;
  for (const policy::Mistake& mistake : mistakes) lines.push_back(mistake.what);
  return lines;
}

class Master {
 public:
  Master(base::Log log, int log_fd)
      : log_(log),
        generations_(log_fd, GivenSockets::of_socket_unit(),
                     {.prepare = [this](const policy::Config& config) { return prepare(config); },
                      .undo =
                          [this] {
                            desk_.forget_next();
                            monitor_.forget_next();
                            answers_.forget();
                          },
                      .entering = [this](const Generation& next) { withdrawals_.follow(next); },
                      .entered = [this](Generation& generation) { adopt(generation); },
                      .left = [this] { answers_.forget(); },
                      .on_fork = [this] { give_up(); }}),
        monitor_(generations_),
        targets_(generations_, log_, log_fd),
        desk_(generations_),
        answers_(generations_, log_) {}

  Result<void> open();
  int serve(const std::filesystem::path& file, std::optional<Loaded> loaded);

 private:
  Result<void> prepare(const policy::Config& config);
  void adopt(Generation& generation);
  void give_up();
  /// Every mistake as a line for people; none: done.
  using Told = std::function<void(const std::vector<std::string>&)>;
  void begin(std::optional<Loaded> loaded, const Told& told);
  control::Service controlled();
  control::TargetHealth health_of(std::string_view group, std::string_view target) const;
  void wait_for_something();
  void obey(int signal);
  void reload();
  void upgrade(Upgrade::Failed failed);
  void replace_in_turn();
  Error replace();
  void adopt_predecessors();
  void say_ready();
  void end(int signal_for_workers, Milliseconds limit);
  void bury();
  Milliseconds until_next() const;

  base::Log log_;
  ServiceManager manager_;
  Generations generations_;
  MonitorProcess monitor_;
  NamedTargets targets_;
  Desk desk_;
  Upgrade upgrade_{log_};
  Withdrawals withdrawals_{generations_, log_};
  std::filesystem::path file_;  // the configuration's
  Answers answers_;             // of targets that see their clients
  base::Fd signals_;
  bool ending_ = false;
  Instant kill_at_ = Instant::max();
  int exit_status_ = 0;
};

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
  desk_.on_upgrade([this](Upgrade::Failed failed) { upgrade(std::move(failed)); });
  return {};
}

/// What a configuration wants of the master itself, before its first worker.
Result<void> Master::prepare(const policy::Config& config) {
  if (auto prepared = desk_.prepare(config.admin, log_); !prepared) return prepared;
  if (auto prepared = monitor_.prepare(config.metrics, log_); !prepared) return prepared;
  if (auto brought = answers_.bring_home(config); !brought) return brought;
  const std::uint64_t wanted = config.max_flows * kDescriptorsPerFlow + kDescriptorsBesides;
  if (const std::uint64_t limit = raise_descriptor_limit(wanted); limit < wanted) {
    log_.info("descriptor_limit",
              {{"limit", limit},
               {"wanted", wanted},
               {"remedy", "start as root, raise ulimit -n or fs.nr_open, or lower max_flows"}});
  }
  return {};
}

void Master::adopt(Generation& generation) {
  log_ = generation.log;
  desk_.adopt();
  monitor_.adopt(generation);
  say_ready();
}

void Master::say_ready() {
  const Generation& serves = *generations_.current();
  manager_.ready(fmt::format("serving {} listeners with {} workers, generation {}",
                             serves.config.listeners.size(), serves.workers->count(), serves.number));
}

void Master::give_up() {
  signals_.reset();
  manager_.abandon();
  monitor_.abandon();
  targets_.abandon();
  desk_.abandon();
  answers_.abandon();
}

int Master::serve(const std::filesystem::path& file, std::optional<Loaded> loaded) {
  file_ = file;
  adopt_predecessors();
  const bool upgrading = generations_.current() != nullptr;
  begin(std::move(loaded), [this, upgrading](const std::vector<std::string>& mistakes) {
    for (const std::string& mistake : mistakes)
      log_.error(upgrading ? "not_upgraded" : "not_started", {{"error", mistake}});
    if (upgrading && mistakes.empty()) log_.info("upgraded");
    if (mistakes.empty() || ending_ || upgrading) return;
    exit_status_ = 1;
    end(SIGQUIT, kGrace);
  });
  for (;;) {
    if (!ending_) targets_.step(base::now());
    generations_.step();
    if (ending_ && !generations_.anyone_alive()) break;
    if (!ending_ && generations_.current() != nullptr) monitor_.start_due(base::now());
    wait_for_something();
  }
  monitor_.end();
  targets_.end();
  answers_.end();
  if (generations_.failed()) exit_status_ = 1;
  if (Generation* const last = generations_.current()) {
    generations_.fold();
    last->workers->counters().write(log_);
  }
  if (generations_.current() != nullptr || exit_status_ == 0)
    log_.info("stopped", {{"status", exit_status_}});
  return exit_status_;
}

/// With what stands in the file, which may have been loaded already. What comes after that goes through the
/// desk.
void Master::begin(std::optional<Loaded> loaded, const Told& told) {
  std::expected<Loaded, std::vector<std::string>> read =
      loaded ? std::expected<Loaded, std::vector<std::string>>(std::move(*loaded)) : load(file_);
  if (!read) return told(read.error());
  const auto first = std::make_shared<control::Loaded>(std::move(read->control));
  targets_.change(first->config, std::move(read->prepared),
                  [this, first, told](const Generations::Mistakes& mistakes) {
                    if (mistakes.empty()) desk_.control(std::move(*first), controlled(), log_);
                    told(lines_of(mistakes));
                  });
}

control::Service Master::controlled() {
  return {.take_over = [this](const policy::Config& config,
                              const control::Service::Done& done) { targets_.change(config, {}, done); },
          .stop = [this] { obey(SIGTERM); },
          .health =
              [this](const policy::TargetGroup& group, const policy::HostPort& target) {
                return health_of(group.name, policy::to_string(target));
              },
          .draining = [this](const policy::TargetGroup& group) { return withdrawals_.draining(group.name); },
          .addresses = [this](std::string_view name) { return targets_.addresses(name); }};
}

/// As the monitor process sees it.
control::TargetHealth Master::health_of(std::string_view group, std::string_view target) const {
  for (const tlsplice_target_health& row : generations_.current()->workers->health().target_rows()) {
    if (targets::word(row.target_group) != group || targets::word(row.target) != target) continue;
    const std::string_view reason = targets::word(row.reason);
    return {.state = std::string(targets::word(row.state)),
            .reason = std::string(reason),
            .description = std::string(targets::description(reason))};
  }
  return {.state = std::string(targets::kUnused), .reason = "Target.NotRegistered", .description = {}};
}

void Master::wait_for_something() {
  std::vector<pollfd> watched = {{.fd = signals_.get(), .events = POLLIN, .revents = 0},
                                 {.fd = generations_.ready(), .events = POLLIN, .revents = 0}};
  targets_.watch(watched);
  desk_.watch(watched);
  ::poll(watched.data(), watched.size(), static_cast<int>(until_next().count()));
  signalfd_siginfo signal{};
  while (::read(signals_.get(), &signal, sizeof signal) == static_cast<ssize_t>(sizeof signal)) {
    obey(static_cast<int>(signal.ssi_signo));
  }
  desk_.serve();
  if (!ending_ && generations_.current() != nullptr) withdrawals_.end_due(base::now());
  manager_.keep_alive(base::now());
  upgrade_.watch(base::now());
  if (base::now() >= kill_at_) {
    generations_.kill();
    kill_at_ = Instant::max();
  }
}

void Master::obey(int signal) {
  Generation* const current = generations_.current();
  switch (signal) {
    case SIGCHLD:
      return bury();
    case SIGUSR1:
      if (current == nullptr) return;
      generations_.fold();
      current->workers->counters().write(log_);
      return generations_.reopen_access_log();
    case SIGUSR2:
      return upgrade([](const std::string&) {});
    case SIGHUP:
      return reload();
    case SIGTERM: {
      if (ending_) return;
      const Milliseconds limit = current != nullptr ? current->config.drain_timeout : Milliseconds(0);
      log_.info("draining", {{"limit_ms", limit.count()}});
      return end(SIGTERM, limit + kGrace);
    }
    default:  // SIGINT, SIGQUIT
      log_.info("stopping");
      return end(SIGQUIT, kGrace);
  }
}

void Master::adopt_predecessors() {
  if (!is_successor()) return;
  auto bequest = receive_bequest();
  auto adopted = bequest ? generations_.adopt(*bequest) : base::fail(Error::invalid("it cannot be read"));
  if (bequest) targets_.remember(bequest->names);
  if (!adopted) return log_.error("bequest_lost", {{"why", adopted.error().text()}});
  withdrawals_.adopt(bequest->departures);
}

/// The program where this one was started from takes this one's place, if it takes the configuration.
void Master::upgrade(Upgrade::Failed failed) {
  if (ending_ || generations_.current() == nullptr) return failed("the service is starting or ending");
  upgrade_.begin(file_, std::move(failed));
}

/// A change of the configuration that is under way is done first.
void Master::replace_in_turn() {
  if (ending_) return upgrade_.give_up({"the service ends"});
  generations_.change(
      [this] { return std::unexpected(Generations::Mistakes{{{}, "", replace().text()}}); },
      [this](const Generations::Mistakes& mistakes) { upgrade_.give_up(lines_of(mistakes)); });
}

/// When its turn among the changes has come. Returns only if it fails.
Error Master::replace() {
  std::optional<observe::CounterTable> past;
  auto bequest = generations_.bequeath(past);
  if (!bequest) return std::move(bequest.error());
  bequest->departures = withdrawals_.bequeath();
  bequest->names = targets_.known();
  monitor_.end();
  targets_.end();
  manager_.leave();
  return upgrade_.replace(*bequest, file_);
}

/// What stands in the file now.
void Master::reload() {
  if (ending_ || generations_.current() == nullptr) return;
  log_.info("reloading");
  manager_.reloading();
  const Told told = [this](const std::vector<std::string>& mistakes) {
    for (const std::string& mistake : mistakes) log_.error("not_reloaded", {{"error", mistake}});
    if (mistakes.empty()) return log_.info("reloaded");
    if (!ending_) say_ready();  // as before
  };
  // None: a predecessor's workers serve, and the configuration was not yet one that ours could.
  if (desk_.control() == nullptr) return begin(std::nullopt, told);
  desk_.control()->answer("reload", "{}", [told](const control::Control::Answer& answer) {
    std::vector<std::string> lines;
    std::istringstream text(answer ? std::string() : answer.error());
    for (std::string line; std::getline(text, line);) lines.push_back(line);
    told(lines);
  });
}

void Master::end(int signal_for_workers, Milliseconds limit) {
  if (!ending_) manager_.stopping();
  ending_ = true;
  kill_at_ = base::now() + limit;
  targets_.give_up();
  generations_.end(signal_for_workers);
}

void Master::bury() {
  int status = 0;
  for (pid_t process = ::waitpid(-1, &status, WNOHANG); process > 0;
       process = ::waitpid(-1, &status, WNOHANG)) {
    if (upgrade_.bury(process, status, [this] { replace_in_turn(); })) continue;
    const Instant now = base::now();
    if (monitor_.bury(process, status, now) || targets_.bury(process, status, now)) continue;
    generations_.bury(process, status);
  }
}

/// How long to sleep at most. A minute when nothing is due.
Milliseconds Master::until_next() const {
  Instant next = std::min({kill_at_, desk_.next_deadline(), base::now() + std::chrono::minutes(1),
                           generations_.next_deadline(), manager_.next_deadline(), upgrade_.next_deadline()});
  if (!ending_) next = std::min(next, targets_.next_deadline());
  if (!ending_ && generations_.current() != nullptr)
    next = std::min({next, monitor_.next_start(), withdrawals_.next_look()});
  const auto wait = std::chrono::ceil<Milliseconds>(next - base::now());
  return std::max(wait, Milliseconds(0));
}

}  // namespace

int run(const std::filesystem::path& file, std::optional<Loaded> loaded, int log_fd) {
  const policy::LogSettings settings = loaded ? loaded->control.config.log : policy::LogSettings();
  base::Log log(log_fd, settings.level, settings.format);
  Master master(log, log_fd);
  if (auto opened = master.open(); !opened) {
    log.error("not_started", {{"error", opened.error().text()}});
    return 1;
  }
  return master.serve(file, std::move(loaded));
}

bool somebody_serves() {
  return is_successor();
}

}  // namespace tlsplice::master
