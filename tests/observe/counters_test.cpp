// Promised: each worker's counters are its own and seen by all processes, the sum goes over all of them, and
// the line "counters" names every one, zeros too. Checked with forked children as workers.
#include "tlsplice/observe/counters.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "../base/child.hpp"

namespace tlsplice::observe {
namespace {

using C = tlsplice_counters;

struct Named {
  const char* name;
  Counter counter;
};
#define TLSPLICE_NAMED_COUNTER(name) {#name, &C::name},
constexpr Named kAll[] = {TLSPLICE_COUNTERS(TLSPLICE_NAMED_COUNTER)};
#undef TLSPLICE_NAMED_COUNTER

CounterTable table_of(std::size_t workers) {
  auto table = CounterTable::create(workers);
  TLSPLICE_EXPECT(table.has_value(), "the tests can map memory");
  return std::move(*table);
}

std::string line_of(const CounterTable& table, base::LogFormat format = base::LogFormat::kLogfmt) {
  tests::Pipe pipe;
  base::Log log(pipe.write_end.get(), base::LogLevel::kInfo, format);
  table.write(log);
  EXPECT_EQ(log.dropped(), 0u);
  pipe.write_end.reset();
  return tests::read_to_end(pipe.read_end.get());
}

TEST(Counters, BeginAtZero) {
  const CounterTable table = table_of(3);
  EXPECT_EQ(table.workers(), 3u);
  for (const Named& one : kAll) EXPECT_EQ(table.sum(one.counter), 0u) << one.name;
}

TEST(Counters, AddSubtractAndSet) {
  const CounterTable table = table_of(1);
  Counters own = table.worker(0);
  own.add(&C::ActiveFlowCount);
  own.add(&C::ActiveFlowCount, 10);
  own.subtract(&C::ActiveFlowCount);
  own.subtract(&C::ActiveFlowCount, 4);
  EXPECT_EQ(own.get(&C::ActiveFlowCount), 6u);
  own.set(&C::ActiveFlowCount, 100);
  EXPECT_EQ(table.sum(&C::ActiveFlowCount), 100u);
}

TEST(Counters, EachHasItsOwnPlace) {
  const CounterTable table = table_of(2);
  __u64 value = 0;
  for (std::size_t worker = 0; worker < 2; ++worker) {
    for (const Named& one : kAll) table.worker(worker).set(one.counter, ++value);
  }
  value = 0;
  for (std::size_t worker = 0; worker < 2; ++worker) {
    for (const Named& one : kAll) EXPECT_EQ(table.worker(worker).get(one.counter), ++value) << one.name;
  }
}

TEST(Counters, AreSharedWithForkedWorkers) {
  constexpr std::size_t kWorkers = 4;
  constexpr __u64 kTimes = 10'000;
  const CounterTable table = table_of(kWorkers);
  std::vector<pid_t> children;
  for (std::size_t i = 0; i < kWorkers; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      Counters own = table.worker(i);
      for (__u64 n = 0; n < kTimes; ++n) own.add(&C::ProcessedBytes, i + 1);
      ::_exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) EXPECT_EQ(tests::end_of(child), "");
  for (std::size_t i = 0; i < kWorkers; ++i) {
    EXPECT_EQ(table.worker(i).get(&C::ProcessedBytes), kTimes * (i + 1));
  }
  EXPECT_EQ(table.sum(&C::ProcessedBytes), kTimes * 10);
  EXPECT_EQ(table.sum(&C::SplicedBytes), 0u);
}

TEST(Counters, MoveWithTheirTable) {
  CounterTable first = table_of(2);
  first.worker(1).add(&C::NewFlowCount, 5);
  const CounterTable second(std::move(first));
  EXPECT_EQ(second.workers(), 2u);
  EXPECT_EQ(second.sum(&C::NewFlowCount), 5u);
  EXPECT_EQ(first.workers(), 0u);  // NOLINT(bugprone-use-after-move)
}

TEST(Counters, OfNobodyAreAnError) {
  EXPECT_FALSE(CounterTable::create(0).has_value());
}

TEST(CountersLine, NamesEachOneWithItsSum) {
  const CounterTable table = table_of(2);
  __u64 value = 0;
  for (const Named& one : kAll) {
    table.worker(0).set(one.counter, 1000);
    table.worker(1).set(one.counter, ++value);
  }
  const std::string line = line_of(table);
  EXPECT_NE(line.find(" level=info event=counters "), std::string::npos);
  value = 1000;
  for (const Named& one : kAll) {
    ++value;
    const std::string last = fmt::format(" {}={}\n", one.name, value);
    const std::string field = fmt::format(" {}={} ", one.name, value);
    EXPECT_TRUE(line.find(field) != std::string::npos || line.ends_with(last)) << field << line;
  }
}

TEST(CountersLine, HasTheZerosToo) {
  const std::string line = line_of(table_of(1), base::LogFormat::kJson);
  for (const Named& one : kAll) {
    EXPECT_NE(line.find(fmt::format("\"{}\":0", one.name)), std::string::npos) << one.name;
  }
}

TEST(CountersLine, IsNeverTooLongToBeWritten) {
  const CounterTable table = table_of(1);
  for (const Named& one : kAll) table.worker(0).set(one.counter, 9'223'372'036'854'775'807ULL);
  for (const auto format : {base::LogFormat::kLogfmt, base::LogFormat::kJson}) {
    EXPECT_TRUE(line_of(table, format).ends_with(format == base::LogFormat::kJson ? "}\n" : "\n"));
  }
}

}  // namespace
}  // namespace tlsplice::observe
