// Durations, counted in buckets that are at most 1/64 wide of what they hold: percentiles of any number of
// samples in a few kilobytes.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace tlsplice::load {

class Histogram {
 public:
  void add(std::chrono::nanoseconds duration);

  std::uint64_t count() const { return count_; }
  /// The duration that `share` (0 to 1) of all samples do not exceed, in microseconds; 0 without samples.
  double percentile_us(double share) const;
  double max_us() const { return static_cast<double>(max_) / 1000; }

 private:
  static constexpr std::size_t kFine = 64;  // buckets for each power of two
  static constexpr std::size_t kPowers = 58;

  static std::size_t bucket_of(std::uint64_t value);
  static std::uint64_t upper_end(std::size_t bucket);

  std::array<std::uint64_t, kFine * kPowers> buckets_{};
  std::uint64_t count_ = 0;
  std::uint64_t max_ = 0;
};

}  // namespace tlsplice::load
