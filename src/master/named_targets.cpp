#include "named_targets.hpp"

#include <algorithm>
#include <utility>

namespace tlsplice::master {

using Mistakes = Generations::Mistakes;

void NamedTargets::change(policy::Config config, std::optional<Prepared> prepared, Generations::Done done) {
  Names::Set names = Names::of(config);
  if (!names.empty()) prepared.reset();  // it has no targets, and nobody is to wait with keys in memory
  const base::Instant now = base::now();
  if (waiting_.empty() && !names_.all_asked(names))
    log_.info("resolving", {{"names", names.size()}, {"limit_ms", kWait.count()}});
  waiting_.push_back({.config = std::move(config),
                      .names = names_.claim(std::move(names)),
                      .prepared = std::move(prepared),
                      .done = std::move(done),
                      .until = now + kWait});
  wanted_changed_ = true;
  go_on(now);
}

void NamedTargets::step(base::Instant now) {
  wanted_changed_ = false;
  news_ |= process_.hear();
  go_on(now);
  follow(now);
  // The first configuration of all is served by nobody before its names are looked up.
  const Written* const written = in_force_ ? in_force_.get() : waiting_.empty() ? nullptr : &waiting_.front();
  if (written == nullptr && !process_.runs()) return;
  ResolverProcess::Task task{.names = names_.wanted(), .user = {}, .log = {}};
  if (written != nullptr) {
    task.user = written->config.user;
    task.log = written->config.log;
  }
  process_.step(std::move(task), now);
}

/// One after the other: who came later does not overtake.
void NamedTargets::go_on(base::Instant now) {
  while (!waiting_.empty()) {
    const bool all_asked = names_.all_asked(*waiting_.front().names);
    if (!all_asked && now < waiting_.front().until) return;
    if (!all_asked) {
      std::string names;
      for (const std::string& name : *waiting_.front().names) {
        if (names_.all_asked({name}) || names.size() > 1000) continue;
        names += (names.empty() ? "" : " ") + name;
      }
      log_.warning("not_resolved_yet",
                   {{"names", names}, {"remedy", "it goes on without them; they are asked for on and on"}});
    }
    Written written = std::move(waiting_.front());
    waiting_.pop_front();
    hand_over(std::move(written));
  }
}

void NamedTargets::hand_over(Written written) {
  const auto shared = std::make_shared<Written>(std::move(written));
  generations_.change(
      [this, shared]() -> std::expected<Generations::Next, Mistakes> {
        if (shared->prepared) return Generations::Next{shared->config, *std::exchange(shared->prepared, {})};
        return with_addresses(shared->config);
      },
      [this, shared](const Mistakes& mistakes) {
        if (mistakes.empty()) in_force_ = shared;
        wanted_changed_ = true;
        std::exchange(shared->done, nullptr)(mistakes);
      });
}

/// Addresses have changed: those of the configuration that is in force when the change's turn comes.
void NamedTargets::follow(base::Instant now) {
  if (!in_force_ || !news_ || now < follow_at_) return;
  news_ = false;
  follow_at_ = now + std::min<base::Milliseconds>(kPace * (1 + generations_.retired()), kLongestPace);
  generations_.change(
      [this]() -> std::expected<Generations::Next, Mistakes> {
        const Generation* const serves = generations_.current();
        if (same_targets(names_.with_addresses(in_force_->config).config, serves->config))
          return std::unexpected(Mistakes{});
        return with_addresses(in_force_->config);
      },
      [this](const Mistakes& mistakes) {
        if (mistakes.empty()) return;
        for (const policy::Mistake& mistake : mistakes)
          log_.error("addresses_not_followed",
                     {{"error", policy::to_string(in_force_->config.file, mistake)}});
        news_ = true;  // to be tried again
        follow_at_ = base::now() + kRetry;
      });
}

std::expected<Generations::Next, Mistakes> NamedTargets::with_addresses(const policy::Config& config) const {
  Names::Replaced replaced = names_.with_addresses(config);
  for (const std::string& group : replaced.over_limit) {
    log_.warning("addresses_left_out", {{"target_group", group}, {"limit", policy::kTargetsOfAGroupMax}});
  }
  auto prepared = prepare(replaced.config);
  if (!prepared) return std::unexpected(std::move(prepared.error()));
  return Generations::Next{std::move(replaced.config), std::move(*prepared)};
}

base::Instant NamedTargets::next_deadline() const {
  if (wanted_changed_) return base::now();
  base::Instant next = process_.next_deadline();
  if (!waiting_.empty()) next = std::min(next, waiting_.front().until);
  if (in_force_ && news_) next = std::min(next, follow_at_);
  return next;
}

void NamedTargets::give_up() {
  while (!waiting_.empty()) {
    Written written = std::move(waiting_.front());
    waiting_.pop_front();
    hand_over(std::move(written));
  }
}

}  // namespace tlsplice::master
