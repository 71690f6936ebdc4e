#include "pattern.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "random.hpp"

namespace tlsplice::load {
namespace {

// A prime: blocks that are lost, doubled or swapped on the way have other sizes, so their bytes do not match.
// Small enough for a second-level cache, with the longest piece behind it so that no piece has a seam.
constexpr std::size_t kPeriod = 262147;
constexpr std::size_t kPieceMax = std::size_t{256} * 1024;

using Table = std::array<std::byte, kPeriod + kPieceMax>;

const Table& table() {
  static const Table kTable = [] {
    Table made{};
    Random random(1);
    for (std::byte& byte : made) byte = static_cast<std::byte>(random.next() >> 56);
    std::copy_n(made.begin(), kPieceMax, made.begin() + kPeriod);
    return made;
  }();
  return kTable;
}

}  // namespace

Pattern::Pattern(std::uint64_t seed) : entry_(Random(seed).below(kPeriod)) {}

Bytes Pattern::at(std::uint64_t offset, std::size_t size) const {
  const std::size_t start = (entry_ + offset % kPeriod) % kPeriod;
  return Bytes(table()).subspan(start, std::min(size, kPieceMax));
}

std::optional<std::uint64_t> Pattern::first_wrong(std::uint64_t offset, Bytes received) const {
  while (!received.empty()) {
    const Bytes expected = at(offset, received.size());
    if (std::memcmp(expected.data(), received.data(), expected.size()) != 0) {
      const auto [wrong, _] = std::ranges::mismatch(expected, received);
      return offset + static_cast<std::uint64_t>(wrong - expected.begin());
    }
    offset += expected.size();
    received = received.subspan(expected.size());
  }
  return std::nullopt;
}

}  // namespace tlsplice::load
