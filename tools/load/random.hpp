// Numbers that look random and are the same for the same seed (splitmix64, Steele et al. 2014): both ends of
// a flow derive its bytes and its pauses from one seed.
#pragma once

#include <bit>
#include <cstdint>

namespace tlsplice::load {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    std::uint64_t mixed = state_ += 0x9e3779b97f4a7c15;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    return mixed ^ (mixed >> 31);
  }

  /// 0 .. limit - 1
  std::uint64_t below(std::uint64_t limit) { return next() % limit; }

  /// 1 .. most, each order of magnitude as often as the others: sizes as they come in practice, many of them
  /// small.
  std::uint64_t size(std::uint64_t most) {
    const auto bits = static_cast<int>(below(static_cast<std::uint64_t>(std::bit_width(most)) + 1));
    const std::uint64_t highest = bits >= 64 ? most : std::uint64_t{1} << bits;
    return 1 + below(highest < most ? highest : most);
  }

 private:
  std::uint64_t state_;
};

/// Another seed for each of several streams that belong to one flow.
inline std::uint64_t derive(std::uint64_t seed, std::uint64_t stream) {
  return Random(seed ^ (stream * 0xd1342543de82ef95)).next();
}

}  // namespace tlsplice::load
