#include "tlsplice/observe/past.hpp"

#include <cstring>
#include <set>
#include <span>

namespace tlsplice::observe {
namespace {

template <std::size_t N>
std::string text(const char (&field)[N]) {
  return {field, ::strnlen(field, N)};
}

// For each kind of row: op(field of one, the same field of the other), for every number in it.
#define TLSPLICE_BOTH(name, ...) op(one.name, other.name);
void each(tlsplice_counters& one, const tlsplice_counters& other, auto op) {
  TLSPLICE_COUNTERS(TLSPLICE_BOTH)
}
void each(tlsplice_listener& one, const tlsplice_listener& other, auto op) {
  TLSPLICE_LISTENER_COUNTERS(TLSPLICE_BOTH)
}
void each(tlsplice_target& one, const tlsplice_target& other, auto op) {
  TLSPLICE_TARGET_COUNTERS(TLSPLICE_BOTH)
}
void each(tlsplice_ktls& one, const tlsplice_ktls& other, auto op) {
  TLSPLICE_KTLS_COUNTERS(TLSPLICE_BOTH)
}
void each(tlsplice_histograms& one, const tlsplice_histograms& other, auto op) {
  TLSPLICE_BOTH(handshake_us)
  TLSPLICE_HANDSHAKE_BUCKETS(TLSPLICE_BOTH)
  TLSPLICE_BOTH(connect_us)
  TLSPLICE_CONNECT_BUCKETS(TLSPLICE_BOTH)
  TLSPLICE_BOTH(flow_us)
  TLSPLICE_FLOW_BUCKETS(TLSPLICE_BOTH)
}
#undef TLSPLICE_BOTH

template <typename Row>
void add_to(Row& sum, const Row& row) {
  each(sum, row, [](__u64& total, const __u64& field) { total += base::shared_get(field); });
}

template <typename Row>
void show_in(Row& row, const Row& sum) {
  each(row, sum, [](__u64& field, const __u64& total) { base::shared_set(field, total); });
}

/// visit(i, row): each listener's or target's row of each worker.
template <typename Row>
void of_workers(const CounterTable& table, std::span<const Row> rows, auto visit) {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (i % table.stride() != table.workers()) visit(rows[i]);
  }
}

}  // namespace

void Past::add(const CounterTable& generation) {
  const std::size_t workers = generation.workers();
  for (const tlsplice_counters& row : generation.counter_rows().first(workers)) add_to(counters_, row);
  of_workers(generation, generation.listener_rows(), [&](const tlsplice_listener& row) {
    tlsplice_listener& sum = listeners_[text(row.listener)];
    base::enter_text(sum.protocol, text(row.protocol));
    add_to(sum, row);
  });
  of_workers(generation, generation.histogram_rows(),
             [&](const tlsplice_histograms& row) { add_to(histograms_[text(row.listener)], row); });
  of_workers(generation, generation.target_rows(), [&](const tlsplice_target& row) {
    add_to(targets_[{text(row.target_group), text(row.target)}], row);
  });
  const auto ktls = generation.ktls_rows().first(workers * TLSPLICE_KTLS_ROWS);
  for (std::size_t i = 0; i < ktls.size(); ++i) add_to(ktls_[i % TLSPLICE_KTLS_ROWS], ktls[i]);
  for (const tlsplice_negotiated& row :
       generation.negotiated_rows().first(workers * TLSPLICE_NEGOTIATED_ROWS)) {
    if (row.side[0] == '\0') continue;
    negotiated_[{text(row.side), text(row.protocol), text(row.cipher), text(row.group)}] +=
        base::shared_get(row.NegotiatedCount);
  }
}

void Past::limit(const CounterTable& present) {
  if (listeners_.size() + targets_.size() <= kNamesMax) return;
  const Shape shape = present.shape();
  std::set<std::string> listeners;
  std::set<Name> targets;
  for (const Shape::Listener& listener : shape.listeners) listeners.insert(listener.name);
  for (const Shape::Target& target : shape.targets) targets.emplace(target.group, target.address);
  std::erase_if(listeners_, [&](const auto& entry) { return !listeners.contains(entry.first); });
  std::erase_if(histograms_, [&](const auto& entry) { return !listeners.contains(entry.first); });
  std::erase_if(targets_, [&](const auto& entry) { return !targets.contains(entry.first); });
}

void Past::write(const CounterTable& present) const {
  write(present, present.first_rows(present.workers()));
}

base::Result<CounterTable> Past::as_table() const {
  Shape shape;
  shape.listeners.clear();
  shape.targets.clear();
  for (const auto& [name, row] : listeners_) shape.listeners.push_back({name, text(row.protocol)});
  for (const auto& [name, row] : targets_) shape.targets.push_back({name.first, name.second});
  auto table = CounterTable::create(shape);
  if (table) write(*table, table->first_rows(0));
  return table;
}

void Past::write(const CounterTable& present, const FirstRows& rows) const {
  show_in(*rows.counters, counters_);
  for (std::size_t i = 0; i < present.listener_rows().size(); i += present.stride()) {
    tlsplice_listener& listener = rows.listeners[i];
    const std::string name = text(listener.listener);
    if (const auto found = listeners_.find(name); found != listeners_.end()) show_in(listener, found->second);
    if (const auto found = histograms_.find(name); found != histograms_.end())
      show_in(rows.histograms[i], found->second);
  }
  for (std::size_t i = 0; i < present.target_rows().size(); i += present.stride()) {
    tlsplice_target& target = rows.targets[i];
    const auto found = targets_.find({text(target.target_group), text(target.target)});
    if (found != targets_.end()) show_in(target, found->second);
  }
  for (std::size_t i = 0; i < TLSPLICE_KTLS_ROWS; ++i) show_in(rows.ktls[i], ktls_[i]);
  // From the first row on again each time, so each combination comes to lie where it did before or behind.
  const auto enter = [](tlsplice_negotiated& row, const Combination& names, __u64 count) {
    const auto replace = [](auto& field, const std::string& name) {
      std::memset(field, 0, sizeof field);
      base::enter_text(field, name);
    };
    const auto& [side, protocol, cipher, group] = names;
    replace(row.protocol, protocol);
    replace(row.cipher, cipher);
    replace(row.group, group);
    base::shared_set(row.NegotiatedCount, count);
    replace(row.side, side);
  };
  tlsplice_negotiated* row = rows.negotiated;
  tlsplice_negotiated* const last = rows.negotiated + TLSPLICE_NEGOTIATED_ROWS - 1;
  __u64 others = 0;
  for (const auto& [names, count] : negotiated_) {
    if (row == last || std::get<0>(names) == "other") {
      others += count;
    } else {
      enter(*row++, names, count);
    }
  }
  if (others > 0) enter(*last, {"other", "other", "other", "other"}, others);
}

}  // namespace tlsplice::observe
