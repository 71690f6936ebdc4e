#include "generations.hpp"

#include <sys/random.h>

#include <algorithm>
#include <csignal>
#include <utility>

namespace tlsplice::master {
namespace {

/// What was found out about the certificates and this OpenSSL, and is no mistake.
void announce(const Prepared& prepared, base::Log& log) {
  for (const Prepared::Listener& listener : prepared.listeners) {
    if (!listener.context) continue;
    const tls::Offer& offer = listener.context->offer();
    for (const std::string& warning : offer.warnings) {
      log.warning("certificate", {{"listener", listener.service.name}, {"what", warning}});
    }
    for (const tls::Missing& missing : offer.missing) {
      if (!missing.library) continue;
      log.warning("not_offered",
                  {{"listener", listener.service.name}, {"what", missing.name}, {"why", missing.why}});
    }
  }
  log.info("kernel_tls", {{"available", prepared.kernel.ulp ? "yes" : "no"},
                          {"detail", prepared.kernel.ulp ? "-" : prepared.kernel.why_not}});
}

void announce_service(const Generation& generation, base::Log& log) {
  for (const Prepared::Listener& listener : generation.prepared.listeners) {
    log.info("listening", {{"listener", listener.service.name},
                           {"protocol", policy::to_string(listener.service.protocol)},
                           {"address", listener.address.text()}});
  }
  log.info("serving", {{"generation", generation.number},
                       {"workers", generation.workers->count()},
                       {"listeners", generation.prepared.listeners.size()}});
}

}  // namespace

Generations::Generations(int log_fd, GivenSockets given, Surroundings surroundings)
    : log_fd_(log_fd), given_(std::move(given)), surroundings_(std::move(surroundings)) {
  if (::getrandom(&flow_hash_seed_, sizeof flow_hash_seed_, 0) < 0) flow_hash_seed_ = 0;
}

void Generations::change(Load load, Done done) {
  changes_.push_back({std::move(load), std::move(done)});
}

void Generations::step() {
  bury_generations();
  if (done_) finish();
  if (!ending_ && !done_) begin_change();
  if (next_) {
    next_->workers->start_due();
    if (next_->workers->all_are_ready()) {
      enter();
    } else if (base::now() >= ready_until_) {
      give_up_next(SIGKILL,
                   "the workers of the new configuration were not ready within a minute: see the log");
    }
  }
  if (current_) {
    current_->workers->start_due();
    current_->workers->look();
  }
  if (base::now() >= fold_at_) fold();
}

/// Until one is on its way: each that is refused makes room for the one behind it.
void Generations::begin_change() {
  while (!next_ && !changes_.empty()) {
    auto loaded = changes_.front().load();
    if (!loaded) {
      refuse(loaded.error());
      continue;
    }
    if (auto made = make_next(std::move(*loaded)); !made) refuse({{{}, "", made.error().text()}});
  }
}

base::Result<void> Generations::make_next(Next loaded) {
  const base::Log log(log_fd_, loaded.config.log.level, loaded.config.log.format);
  auto made = std::make_unique<Generation>(Generation{.number = made_ + 1,
                                                      .config = std::move(loaded.config),
                                                      .prepared = std::move(loaded.prepared),
                                                      .log = log,
                                                      .workers = std::nullopt});
  announce(made->prepared, made->log);
  auto workers = Workers::open(made->config, made->prepared, made->log, flow_hash_seed_,
                               current_ ? &*current_->workers : nullptr, given_);
  if (!workers) return base::fail(std::move(workers.error()));
  if (auto prepared = surroundings_.prepare(made->config); !prepared) {
    surroundings_.undo();
    return prepared;
  }
  made->workers.emplace(std::move(*workers));
  made->workers->on_fork([this, own = made.get()] { give_up_others(own); });
  ++made_;
  ready_until_ = base::now() + kReadyAtMost;
  next_ = std::move(made);
  return {};
}

void Generations::enter() {
  next_->workers->enter(current_ ? &*current_->workers : nullptr);
  surroundings_.entering(*next_);
  if (current_) {
    current_->workers->retire();
    current_->prepared.forget_keys();
    old_.push_back(std::move(current_));
  }
  current_ = std::move(next_);
  for (const net::Address& address : given_.left()) {
    current_->log.warning(
        "socket_not_used",
        {{"address", address.text()},
         {"remedy", "name it as the address of a listener, or take it out of the socket unit"}});
  }
  given_ = {};
  fold();
  surroundings_.entered(*current_);
  announce_service(*current_, current_->log);
  done_ = std::move(changes_.front().done);
  changes_.pop_front();
  look_until_ = base::now() + kLookAtMost;
}

/// A connection that is made after the change was said to be done meets nobody of before.
void Generations::finish() {
  const bool closed = std::ranges::all_of(
      old_, [](const std::unique_ptr<Generation>& old) { return old->workers->all_have_closed(); });
  if (closed || base::now() >= look_until_) std::exchange(done_, nullptr)({});
}

/// The change that is under way, or was about to be.
void Generations::refuse(const Mistakes& mistakes) {
  const Done done = std::move(changes_.front().done);
  changes_.pop_front();
  done(mistakes);
}

/// None of its workers serves anybody.
void Generations::give_up_next(int signal, const char* why) {
  next_->workers->end(signal);
  old_.push_back(std::move(next_));
  surroundings_.undo();
  failed_ |= !current_;  // the next try would fail the same way
  refuse({{{}, "", why}});
}

bool Generations::bury(pid_t process, int status) {
  using Death = Workers::Death;
  if (next_) {
    const Death death = next_->workers->bury(process, status);
    if (death == Death::kUntimely)
      give_up_next(SIGQUIT, "a worker of the new configuration died on its way: see the log");
    if (death != Death::kNotOurs) return true;
  }
  if (current_) {
    const Death death = current_->workers->bury(process, status);
    failed_ |= death == Death::kUntimely && ending_;
    if (death != Death::kNotOurs) return true;
  }
  for (const auto& generation : old_) {
    const Death death = generation->workers->bury(process, status);
    failed_ |= death == Death::kUntimely && ending_;
    if (death != Death::kNotOurs) return true;
  }
  return false;
}

void Generations::bury_generations() {
  const auto gone = [this](const std::unique_ptr<Generation>& generation) {
    if (generation->workers->anyone_alive()) return false;
    past_.add(generation->workers->counters());
    if (current_) past_.limit(current_->workers->counters());
    if (!ending_) generation->log.info("generation_ended", {{"generation", generation->number}});
    return true;
  };
  if (std::erase_if(old_, gone) == 0) return;
  fold();
  surroundings_.left();
}

void Generations::fold() {
  if (!current_) return;
  observe::Past past = past_;
  for (const auto& generation : old_) past.add(generation->workers->counters());
  past.write(current_->workers->counters());
  fold_at_ = old_.empty() ? base::Instant::max() : base::now() + kFold;
}

void Generations::each(const std::function<void(const Workers&)>& visit) const {
  if (current_) visit(*current_->workers);
  for (const auto& generation : old_) visit(*generation->workers);
}

void Generations::each_config(const std::function<void(const policy::Config&)>& visit) const {
  if (next_) visit(next_->config);
  if (current_) visit(current_->config);
  for (const auto& generation : old_) visit(generation->config);
}

void Generations::end_flows(std::string_view group, std::string_view target) {
  if (current_) current_->workers->end_flows(group, target);
  for (const auto& generation : old_) generation->workers->end_flows(group, target);
}

void Generations::end_share(std::string_view listener, std::string_view group) {
  for (const auto& generation : old_) generation->workers->end_share(listener, group);
}

void Generations::reopen_access_log() {
  if (current_) current_->workers->reopen_access_log();
  for (const auto& generation : old_) {
    if (!generation->config.access_log.file.empty()) generation->workers->reopen_access_log();
  }
}

void Generations::end(int signal) {
  ending_ = true;
  while (!changes_.empty()) refuse({{{}, "", "the service ends"}});
  if (done_) std::exchange(done_, nullptr)({});
  if (next_) old_.push_back(std::move(next_));
  if (current_) current_->workers->end(signal);
  for (const auto& generation : old_) generation->workers->end(signal);
}

void Generations::kill() const {
  each([](const Workers& workers) { workers.signal_all(SIGKILL); });
}

bool Generations::anyone_alive() const {
  bool alive = next_ && next_->workers->anyone_alive();
  each([&](const Workers& workers) { alive |= workers.anyone_alive(); });
  return alive;
}

base::Instant Generations::next_deadline() const {
  base::Instant next = done_ ? std::min(fold_at_, base::now() + kLook) : fold_at_;
  if (next_) next = std::min(next, ready_until_);
  for (const auto* generation : {next_.get(), current_.get()}) {
    if (generation != nullptr) next = std::min(next, generation->workers->next_deadline());
  }
  return next;
}

/// In a child of that generation.
void Generations::give_up_others(const Generation* own) {
  surroundings_.on_fork();
  for (const auto* generation : {&next_, &current_}) {
    if (*generation && generation->get() != own) (*generation)->workers->abandon();
  }
  for (const auto& generation : old_) {
    if (generation.get() != own) generation->workers->abandon();
  }
}

void Generations::abandon() {
  give_up_others(nullptr);
  changes_.clear();  // one may hold what it was prepared with
  for (auto* generation : {&next_, &current_}) {
    if (*generation) (*generation)->prepared.forget_keys();  // old ones have, when they retired
  }
}

}  // namespace tlsplice::master
