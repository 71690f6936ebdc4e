// How long things took, as histograms: the rows of the map `histograms` and where in them a duration is
// counted. The bounds stand in tlsplice/wire/numbers.h alone. A row has one writer, as all numbers have.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>

#include "tlsplice/wire/numbers.h"

namespace tlsplice::observe {

/// What is timed.
enum class Timing : std::uint8_t {
  kHandshake,  // with the client: those that were completed
  kConnect,    // to a target: each try that succeeded
  kFlow,       // from the accepted connection to its end, however it ended
};

using HistogramField = __u64 tlsplice_histograms::*;

/// Counts what took at most `upto_us` microseconds and longer than the bucket before.
struct Bucket {
  __u64 upto_us;  // TLSPLICE_LONGER: no bound
  HistogramField count;
};

/// One of the histograms of a row. The bounds of the buckets ascend, the last one has none.
struct Histogram {
  HistogramField sum_us;
  std::span<const Bucket> buckets;
};
Histogram histogram(Timing timing);

/// By the writer of the row. A clock that went back counts as no time at all.
void count(tlsplice_histograms& row, Timing timing, std::chrono::nanoseconds took);

}  // namespace tlsplice::observe
