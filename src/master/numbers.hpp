// The master's hold on the BPF maps of numbers and on their files. Without the privilege there are neither,
// and the numbers lie in anonymous memory: everything else goes on.
#pragma once

#include <optional>
#include <string>

#include "tlsplice/base/log.hpp"
#include "tlsplice/observe/counters.hpp"
#include "tlsplice/steering/maps.hpp"
#include "tlsplice/targets/health.hpp"

namespace tlsplice::master {

class Numbers {
 public:
  /// None.
  Numbers() = default;
  Numbers(const observe::Shape& shape, std::size_t target_groups);

  /// Null without the privilege; why_not() then says so.
  const steering::Maps* maps() const { return maps_ ? &*maps_ : nullptr; }
  const base::Error& why_not() const { return why_not_; }
  /// For observe::CounterTable.
  observe::Backing backing() const;
  targets::HealthBacking health_backing() const;
  /// Makes the files, or takes over those of the numbers `before`, which then has none; says where they are,
  /// or why there are none.
  void pin(const std::string& directory, Numbers* before, base::Log& log);
  /// In a child: gives all of it up. The mapped rows stay, the files are the master's.
  void abandon();

 private:
  std::optional<steering::Maps> maps_;
  std::optional<steering::Pins> pins_;
  base::Error why_not_;
};

}  // namespace tlsplice::master
