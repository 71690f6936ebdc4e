// What is counted and under which name, one function for each map that it comes from. A name is the load
// balancer's where it has one, with the unit or _total at its end that Prometheus wants. One is not:
// ActiveFlowCount is active_flows, because a gauge whose name ends like a histogram's count is refused by
// promtool.
#pragma once

#include <cstring>
#include <span>
#include <string_view>

#include "exposition.hpp"
#include "tlsplice/monitor/metrics.hpp"

namespace tlsplice::monitor {

void show_service(Exposition& out, const Numbers& numbers);
void show_listeners(Exposition& out, const observe::CounterTable& counters);
void show_times(Exposition& out, const observe::CounterTable& counters);
void show_targets(Exposition& out, const observe::CounterTable& counters);
void show_health(Exposition& out, const targets::HealthTable& health);
void show_tls(Exposition& out, const observe::CounterTable& counters);
void show_limits(Exposition& out, const observe::CounterTable& counters);
void show_workers(Exposition& out, const Numbers& numbers, base::Instant now);
void show_steering(Exposition& out, const Numbers& numbers);

/// A name in a row, also when a writer gone mad has left no end in it.
template <std::size_t N>
std::string_view text(const char (&field)[N]) {
  return {field, ::strnlen(field, N)};
}

/// A field that is a family of its own.
template <typename Row>
struct Whole {
  Family family;
  __u64 Row::* field;
};

/// A field that is one of several samples of a family, told apart by a word.
template <typename Row>
struct Part {
  std::string_view word;
  __u64 Row::* field;
};

template <typename Row>
std::uint64_t sum(std::span<const Row> rows, __u64 Row::* field) {
  std::uint64_t total = 0;
  for (const Row& row : rows) total += base::shared_get(row.*field);
  return total;
}

/// Rows of which each `size` belong together, one a worker, under the labels that `labels` makes of the first
/// of them; where it makes none, they are not shown.
template <typename Row, typename MakeLabels>
class Groups {
 public:
  Groups(Exposition& out, std::span<const Row> rows, std::size_t size, MakeLabels labels)
      : out_(out), rows_(rows), size_(size), labels_(labels) {}

  void show(std::span<const Whole<Row>> fields) {
    for (const Whole<Row>& whole : fields) {
      out_.begin(whole.family);
      each([&](const Labels& labels, auto rows) { out_.sample(labels, sum(rows, whole.field)); });
    }
  }
  void show(const Family& family, std::string_view label, std::span<const Part<Row>> parts) {
    out_.begin(family);
    each([&](Labels labels, auto rows) {
      labels.push_back({label, {}});
      for (const Part<Row>& part : parts) {
        labels.back().value = part.word;
        out_.sample(labels, sum(rows, part.field));
      }
    });
  }
  /// visit(labels, rows)
  template <typename Visit>
  void each(Visit visit) const {
    for (std::size_t first = 0; first < rows_.size(); first += size_) {
      const std::span<const Row> rows = rows_.subspan(first, size_);
      Labels labels = labels_(rows.front());
      if (!labels.empty()) visit(std::move(labels), rows);
    }
  }

 private:
  Exposition& out_;
  std::span<const Row> rows_;
  std::size_t size_;
  MakeLabels labels_;
};

}  // namespace tlsplice::monitor
