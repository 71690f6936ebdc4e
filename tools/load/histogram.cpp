#include "histogram.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

namespace tlsplice::load {

void Histogram::add(std::chrono::nanoseconds duration) {
  const auto value = static_cast<std::uint64_t>(std::max<std::chrono::nanoseconds::rep>(duration.count(), 0));
  ++buckets_[bucket_of(value)];
  ++count_;
  max_ = std::max(max_, value);
}

double Histogram::percentile_us(double share) const {
  const auto wanted = static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(count_)));
  std::uint64_t seen = 0;
  for (std::size_t bucket = 0; bucket < buckets_.size(); ++bucket) {
    seen += buckets_[bucket];
    if (seen >= wanted && seen != 0) {
      return static_cast<double>(std::min(upper_end(bucket), max_)) / 1000;
    }
  }
  return 0;
}

// Values below kFine have a bucket each; above, the six bits behind the highest one choose.
std::size_t Histogram::bucket_of(std::uint64_t value) {
  if (value < kFine) return value;
  const auto power = static_cast<std::size_t>(std::bit_width(value)) - 7;  // how far to shift: 64..127 remain
  return std::min((power + 1) * kFine + (value >> power) - kFine, kFine * kPowers - 1);
}

std::uint64_t Histogram::upper_end(std::size_t bucket) {
  if (bucket < kFine) return bucket;
  const std::size_t power = bucket / kFine - 1;
  return ((kFine + bucket % kFine + 1) << power) - 1;
}

}  // namespace tlsplice::load
