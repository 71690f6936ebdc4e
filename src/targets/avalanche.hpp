// A full 64-bit avalanche: the finalizer of MurmurHash3. One to one, and each bit of the input turns half of
// the output's.
#pragma once

#include <cstdint>

namespace tlsplice::targets {

constexpr std::uint64_t avalanche(std::uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdULL;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ULL;
  return x ^ (x >> 33);
}

}  // namespace tlsplice::targets
