// Promised: what took a while is counted in the one bucket whose bound is the first that it does not exceed,
// and added to the sum in microseconds, rounded up; a clock that went back counts as no time. Rows are those
// of the listener and the worker.
#include "tlsplice/observe/histograms.hpp"

#include <gtest/gtest.h>

#include <numeric>

#include "tlsplice/observe/counters.hpp"

namespace tlsplice::observe {
namespace {

using namespace std::chrono_literals;
using H = tlsplice_histograms;

constexpr Timing kAll[] = {Timing::kHandshake, Timing::kConnect, Timing::kFlow};

__u64 total(const H& row, Timing timing) {
  const auto buckets = histogram(timing).buckets;
  return std::accumulate(buckets.begin(), buckets.end(), __u64{0},
                         [&](__u64 sum, const Bucket& bucket) { return sum + row.*bucket.count; });
}

TEST(Histograms, ABoundBelongsToItsBucket) {
  H row{};
  count(row, Timing::kHandshake, 1ms);
  count(row, Timing::kHandshake, 1ms + 1ns);
  count(row, Timing::kHandshake, 0ns);
  EXPECT_EQ(row.handshake_upto_1ms, 2u);
  EXPECT_EQ(row.handshake_upto_2500us, 1u);
  EXPECT_EQ(row.handshake_us, 2001u);
  EXPECT_EQ(total(row, Timing::kHandshake), 3u);
  EXPECT_EQ(total(row, Timing::kConnect), 0u);
}

TEST(Histograms, EveryBoundIsReachable) {
  for (const Timing timing : kAll) {
    for (const Bucket& bucket : histogram(timing).buckets) {
      H row{};
      const bool last = bucket.upto_us == TLSPLICE_LONGER;
      count(row, timing, last ? std::chrono::hours(24 * 365) : std::chrono::microseconds(bucket.upto_us));
      EXPECT_EQ(row.*bucket.count, 1u) << bucket.upto_us;
      EXPECT_EQ(total(row, timing), 1u);
    }
  }
}

TEST(Histograms, AClockThatWentBackIsNoTime) {
  H row{};
  count(row, Timing::kFlow, -5s);
  EXPECT_EQ(row.flow_us, 0u);
  EXPECT_EQ(row.flow_upto_10ms, 1u);
}

TEST(Histograms, HaveARowForEachListenerAndWorker) {
  const auto table =
      CounterTable::create(Shape{.workers = 2, .listeners = {{"web", "TLS"}, {"plain", "TCP"}}});
  Counters second = table->worker(1);
  second.add(1, Timing::kConnect, 300us);
  const auto rows = table->histogram_rows();
  ASSERT_EQ(rows.size(), 6u);  // the third one of each listener is for the past
  EXPECT_STREQ(rows[4].listener, "plain");
  EXPECT_EQ(rows[4].worker, 1u);
  for (std::size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(rows[i].connect_upto_500us, i == 4 ? 1u : 0u);
  EXPECT_STREQ(table->listener_rows()[0].protocol, "TLS");
}

}  // namespace
}  // namespace tlsplice::observe
