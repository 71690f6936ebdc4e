// The checks of all target groups. Writes the shared rows (targets::HealthTable), alone; goes on from what it
// finds there, so that the death of a monitor process changes no target's state.
#pragma once

#include <memory>
#include <vector>

#include "checker.hpp"

namespace tlsplice::monitor {

class Health {
 public:
  struct Setup {
    event_base* loop;
    std::span<const targets::WatchedGroup> groups;  // those of the table, in its order
    const targets::HealthTable& table;
    const observe::CounterTable& counters;
    base::Log& log;
  };
  /// Begins to check at once, a target a millisecond.
  static base::Result<std::unique_ptr<Health>> begin(const Setup& setup);
  Health(const Health&) = delete;
  Health& operator=(const Health&) = delete;
  ~Health();

 private:
  struct Group;
  explicit Health(const Setup& setup);
  void add(std::size_t place, std::size_t first_row, base::Milliseconds delay);
  void changed(Group& group);

  Setup setup_;
  std::optional<tls::Context> context_;
  std::unique_ptr<Http> http_;
  base::OncePerSecond shortages_;
  std::vector<std::unique_ptr<Group>> groups_;
};

}  // namespace tlsplice::monitor
