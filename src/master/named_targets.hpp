// Configurations whose targets have names, on their way to be generations, which have addresses only: a
// change waits until its names have been looked up, a little while at most, and from then on the generation
// that serves follows the addresses of its names as if targets were registered and deregistered.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "generations.hpp"
#include "names.hpp"
#include "resolver_process.hpp"

namespace tlsplice::master {

class NamedTargets {
 public:
  // How long a change waits for names that were never looked up.
  static constexpr base::Milliseconds kWait{5'000};
  // From one change of addresses to the next: so long for each generation that still has flows and one more,
  // so that names which change all the time cannot fill the machine with workers.
  static constexpr base::Milliseconds kPace{2'000};
  static constexpr base::Milliseconds kLongestPace{60'000};
  static constexpr base::Milliseconds kRetry{30'000};

  NamedTargets(Generations& generations, base::Log& log, int log_fd)
      : generations_(generations),
        log_(log),
        process_(names_, [&generations] { generations.abandon(); }, log, log_fd) {}

  /// As Generations::change(), of a configuration as it is written. `prepared` is what it was prepared as if
  /// no target had a name.
  void change(policy::Config config, std::optional<Prepared> prepared, Generations::Done done);
  /// Does what is due.
  void step(base::Instant now);
  void watch(std::vector<pollfd>& watched) const { process_.watch(watched); }
  base::Instant next_deadline() const;
  /// The service ends: nobody waits any more.
  void give_up();

  const std::vector<std::string>& addresses(std::string_view name) const { return names_.addresses(name); }
  /// For a successor, and from a predecessor.
  Names::Addresses known() const { return names_.known(); }
  void remember(Names::Addresses known) { names_.remember(std::move(known)); }

  bool bury(pid_t process, int status, base::Instant now) { return process_.bury(process, status, now); }
  void end() { process_.end(); }
  void abandon() { process_.abandon(); }

 private:
  struct Written {
    policy::Config config;
    Names::Claim names;
    std::optional<Prepared> prepared;
    Generations::Done done;
    base::Instant until;
  };
  void go_on(base::Instant now);
  void hand_over(Written written);
  void follow(base::Instant now);
  std::expected<Generations::Next, Generations::Mistakes> with_addresses(const policy::Config& config) const;

  Generations& generations_;
  base::Log& log_;
  Names names_;
  ResolverProcess process_;
  std::deque<Written> waiting_;
  std::shared_ptr<Written> in_force_;
  bool news_ = false;
  bool wanted_changed_ = false;  // perhaps: the process must be looked after
  base::Instant follow_at_{};
};

}  // namespace tlsplice::master
