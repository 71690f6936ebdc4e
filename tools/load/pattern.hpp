// The bytes of one direction of a flow: endless, the same for the same seed, random access by offset. They
// lie in one table that all streams share and enter at places of their own, so that making and checking them
// costs a memcmp and no more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace tlsplice::load {

using Bytes = std::span<const std::byte>;

class Pattern {
 public:
  explicit Pattern(std::uint64_t seed);

  /// At most `size` bytes from `offset` on, at least one if size is not 0; to be sent as they lie.
  Bytes at(std::uint64_t offset, std::size_t size) const;

  /// Where, counted from the start of the stream, `received` first differs from what belongs at `offset`.
  std::optional<std::uint64_t> first_wrong(std::uint64_t offset, Bytes received) const;

 private:
  std::uint64_t entry_;
};

}  // namespace tlsplice::load
