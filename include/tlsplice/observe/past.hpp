// What generations of workers before the present one have counted. A new configuration brings a new table
// with other listeners and targets, and the totals of the service must not begin at zero again: each table
// has rows for the past, behind those of its workers, and the master alone writes them.
#pragma once

#include <array>
#include <map>
#include <string>
#include <tuple>
#include <utility>

#include "tlsplice/observe/counters.hpp"

namespace tlsplice::observe {

/// Sums by name. What the present table has no row for (a listener that is gone) is kept, and shown again
/// should it come back, unless there have been too many since. A plain value.
class Past {
 public:
  // Listeners and targets. Targets may come and go for ever.
  static constexpr std::size_t kNamesMax = 8192;

  /// What the workers of that generation have counted so far; not its own past.
  void add(const CounterTable& generation);
  /// With more than kNamesMax names, those go that the present table does not have.
  void limit(const CounterTable& present);
  /// Into the rows for the past of the present one.
  void write(const CounterTable& present) const;
  /// All of it as a table of one worker, to be added to another Past elsewhere.
  base::Result<CounterTable> as_table() const;

 private:
  void write(const CounterTable& present, const FirstRows& rows) const;

  using Name = std::pair<std::string, std::string>;
  using Combination = std::tuple<std::string, std::string, std::string, std::string>;

  tlsplice_counters counters_{};
  std::map<std::string, tlsplice_listener> listeners_;
  std::map<std::string, tlsplice_histograms> histograms_;
  std::map<Name, tlsplice_target> targets_;
  std::array<tlsplice_ktls, TLSPLICE_KTLS_ROWS> ktls_{};
  std::map<Combination, __u64> negotiated_;
};

}  // namespace tlsplice::observe
