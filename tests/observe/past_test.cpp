// Promised: the totals of the service go on when another table takes the place of the present one, whatever
// listeners, targets and numbers of workers it has; nothing is counted twice.
#include "tlsplice/observe/past.hpp"

#include <gtest/gtest.h>

namespace tlsplice::observe {
namespace {

using namespace std::chrono_literals;
using C = tlsplice_counters;
using L = tlsplice_listener;
using T = tlsplice_target;

CounterTable table_of(const Shape& shape) {
  auto table = CounterTable::create(shape);
  TLSPLICE_EXPECT(table.has_value(), "the tests can map memory");
  return std::move(*table);
}

const Shape kBefore{.workers = 2,
                    .listeners = {{"web", "TLS"}, {"plain", "TCP"}},
                    .targets = {{"app", "192.0.2.1:80"}, {"app", "192.0.2.2:80"}}};
const Shape kAfter{.workers = 1,
                   .listeners = {{"plain", "TCP"}, {"other", "TCP"}},
                   .targets = {{"app", "192.0.2.2:80"}, {"db", "192.0.2.1:80"}}};

TEST(Past, IsPartOfEverySum) {
  const CounterTable before = table_of(kBefore);
  for (std::size_t i = 0; i < 2; ++i) {
    Counters worker = before.worker(i);
    worker.add(&C::NewFlowCount, 3);
    worker.add(1, &L::NewFlowCount, 2);
    worker.add(1, &T::ProcessedBytes_ToTarget, 100);
    worker.add(1, Timing::kConnect, 300us);
    worker.add({"client", "TLSv1.3", "TLS_AES_128_GCM_SHA256", "X25519"});
    worker.add_ktls(true, "kernel");
  }
  const CounterTable after = table_of(kAfter);
  after.worker(0).add(&C::NewFlowCount, 1);
  Past past;
  past.add(before);
  past.write(after);
  EXPECT_EQ(after.sum(&C::NewFlowCount), 7u);
  EXPECT_EQ(after.sum(0, &L::NewFlowCount), 4u);
  EXPECT_EQ(after.sum(1, &L::NewFlowCount), 0u);
  EXPECT_EQ(after.sum(0, &T::ProcessedBytes_ToTarget), 200u);
  EXPECT_EQ(after.sum(1, &T::ProcessedBytes_ToTarget), 0u);
  EXPECT_EQ(after.histogram_rows()[1].connect_upto_500us, 2u);
  EXPECT_EQ(after.histogram_rows()[1].connect_us, 600u);
  EXPECT_EQ(after.ktls_rows()[TLSPLICE_KTLS_ROWS].kernel, 2u);
  const tlsplice_negotiated& negotiated = after.negotiated_rows()[TLSPLICE_NEGOTIATED_ROWS];
  EXPECT_STREQ(negotiated.cipher, "TLS_AES_128_GCM_SHA256");
  EXPECT_EQ(negotiated.NegotiatedCount, 2u);
}

TEST(Past, OfAPastIsNotCountedTwice) {
  const CounterTable first = table_of(kBefore);
  const CounterTable second = table_of(kBefore);
  const CounterTable third = table_of(kAfter);
  first.worker(0).add(&C::NewFlowCount, 10);
  first.worker(0).add(0, &L::NewFlowCount, 10);
  Past past;
  past.add(first);
  past.write(second);
  second.worker(1).add(&C::NewFlowCount, 5);
  past.add(second);
  past.write(third);
  EXPECT_EQ(third.sum(&C::NewFlowCount), 15u);
  // "web" has no row in the third table, and comes back in the fourth.
  const CounterTable fourth = table_of(kBefore);
  past.add(third);
  past.write(fourth);
  EXPECT_EQ(fourth.sum(0, &L::NewFlowCount), 10u);
}

TEST(Past, WrittenAgainIsWhatItIsNow) {
  const CounterTable before = table_of(kBefore);
  const CounterTable after = table_of(kBefore);
  for (const __u64 active : {2U, 1U, 0U}) {
    before.worker(0).set(&C::ActiveFlowCount, active);
    Past past;
    past.add(before);
    past.write(after);
    EXPECT_EQ(after.sum(&C::ActiveFlowCount), active);
  }
}

TEST(Past, IsNotRememberedForEver) {
  Past past;
  Shape shape{.workers = 1, .listeners = {{"web", "TLS"}}, .targets = {}};
  for (std::size_t i = 0; i <= Past::kNamesMax; ++i) shape.targets.push_back({"app", std::to_string(i)});
  const CounterTable before = table_of(shape);
  before.worker(0).add(0, &L::NewFlowCount, 1);
  before.worker(0).add(7, &T::NewFlowCount, 1);
  before.worker(0).add(8, &T::NewFlowCount, 1);
  past.add(before);
  past.limit(table_of({.workers = 1, .listeners = {{"web", "TLS"}}, .targets = {{"app", "7"}}}));
  const CounterTable after = table_of(shape);
  past.write(after);
  EXPECT_EQ(after.sum(0, &L::NewFlowCount), 1u);
  EXPECT_EQ(after.sum(7, &T::NewFlowCount), 1u);
  EXPECT_EQ(after.sum(8, &T::NewFlowCount), 0u);
}

TEST(Past, AsATableIsAddedElsewhere) {
  const CounterTable before = table_of(kBefore);
  before.worker(1).add(&C::NewFlowCount, 3);
  before.worker(1).add(1, &L::NewFlowCount, 3);
  before.worker(0).add(1, &T::NewFlowCount, 2);
  before.worker(0).add({"client", "TLSv1.3", "TLS_AES_128_GCM_SHA256", "X25519"});
  Past past;
  past.add(before);
  const auto left = past.as_table();
  ASSERT_TRUE(left.has_value());
  // As another process would that has the descriptors.
  const auto found = CounterTable::create({.workers = 1,
                                           .listeners = {{"plain", "TCP"}, {"web", "TLS"}},
                                           .targets = {{"app", "192.0.2.1:80"}, {"app", "192.0.2.2:80"}}},
                                          left->backing());
  ASSERT_TRUE(found.has_value());
  Past elsewhere;
  elsewhere.add(*found);
  const CounterTable after = table_of(kAfter);
  elsewhere.write(after);
  EXPECT_EQ(after.sum(&C::NewFlowCount), 3u);
  EXPECT_EQ(after.sum(0, &L::NewFlowCount), 3u);
  EXPECT_EQ(after.sum(0, &T::NewFlowCount), 2u);
  EXPECT_EQ(after.negotiated_rows()[TLSPLICE_NEGOTIATED_ROWS].NegotiatedCount, 1u);
}

TEST(Past, OfNothingIsATableToo) {
  EXPECT_TRUE(Past().as_table().has_value());
}

TEST(Past, CombinationsBeyondTheRowsAreOthers) {
  const CounterTable before = table_of({.workers = 2, .listeners = {{"web", "TLS"}}});
  const CounterTable after = table_of({.workers = 1, .listeners = {{"web", "TLS"}}});
  for (std::size_t worker = 0; worker < 2; ++worker) {
    for (int i = 0; i < TLSPLICE_NEGOTIATED_ROWS + 5; ++i) {
      const std::string group = std::to_string(worker) + "-" + std::to_string(i);
      before.worker(worker).add({"client", "TLSv1.3", "TLS_AES_128_GCM_SHA256", group.c_str()});
    }
  }
  Past past;
  past.add(before);
  past.write(after);
  __u64 sum = 0;
  const auto rows = after.negotiated_rows().subspan(TLSPLICE_NEGOTIATED_ROWS);
  for (const tlsplice_negotiated& row : rows) sum += row.NegotiatedCount;
  EXPECT_EQ(sum, 2u * (TLSPLICE_NEGOTIATED_ROWS + 5));
  EXPECT_STREQ(rows.back().side, "other");
}

}  // namespace
}  // namespace tlsplice::observe
