// Promised: when memory runs out the reserve is given up first, allocations go on, and the shortage is seen
// until the reserve could be taken back. Checked in a forked child whose address space is limited
// (RLIMIT_AS). An address sanitizer's own allocator does not know the limit, so its build skips these.
#include "tlsplice/base/memory.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <new>
#include <vector>

#include "child.hpp"

namespace tlsplice::base {
namespace {

#if defined(__has_feature) && __has_feature(address_sanitizer)
constexpr bool kLimitsWork = false;
#else
constexpr bool kLimitsWork = true;
#endif

constexpr std::size_t kReserve = 8 * 1024 * 1024;
constexpr std::size_t kBlock = 64 * 1024;  // below glibc's threshold for a mapping of its own

/// Lets the process have `bytes` more of address space than it has now.
void limit_memory(std::size_t bytes) {
  std::size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const std::size_t most = pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) + bytes;
  const rlimit limit{.rlim_cur = most, .rlim_max = RLIM_INFINITY};
  ::setrlimit(RLIMIT_AS, &limit);
}

void lift_limit() {
  const rlimit none{.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
  ::setrlimit(RLIMIT_AS, &none);
}

/// Allocates with `allocate` until memory is short or nothing comes; the blocks stay.
template <typename Allocate>
std::size_t allocate_until_short(Allocate allocate) {
  std::size_t blocks = 0;
  while (!memory_is_short() && blocks < 10'000 && allocate() != nullptr) ++blocks;
  return blocks;
}

std::string new_falls_back() {
  hold_memory_reserve(kReserve);
  if (memory_is_short()) return "short from the start";
  limit_memory(4 * kReserve);
  std::vector<char*> blocks;
  blocks.reserve(10'000);
  allocate_until_short([&] { return blocks.emplace_back(new char[kBlock]); });
  if (!memory_is_short()) return "never short";
  if (refill_memory_reserve()) return "the reserve came back out of nothing";
  // What the reserve was for: the flows that run still get memory.
  for (std::size_t i = 0; i < kReserve / kBlock / 2; ++i) blocks.push_back(new char[kBlock]);
  lift_limit();
  if (!memory_is_short()) return "forgot the shortage before the reserve was back";
  if (!refill_memory_reserve() || memory_is_short()) return "no recovery";
  return "";
}

TEST(MemoryReserve, NewFallsBackOnIt) {
  if (!kLimitsWork) GTEST_SKIP() << "the sanitizer's allocator has no limit";
  EXPECT_EQ(tests::in_child(new_falls_back), "");
}

std::string malloc_falls_back() {
  hold_memory_reserve(kReserve);
  limit_memory(4 * kReserve);
  allocate_until_short([] { return reserve_malloc(kBlock); });
  if (!memory_is_short()) return "never short";
  if (reserve_malloc(kBlock) == nullptr) return "the reserve was not freed";
  return "";
}

TEST(MemoryReserve, MallocFallsBackOnIt) {
  if (!kLimitsWork) GTEST_SKIP() << "the sanitizer's allocator has no limit";
  EXPECT_EQ(tests::in_child(malloc_falls_back), "");
}

std::string realloc_falls_back() {
  hold_memory_reserve(kReserve);
  limit_memory(4 * kReserve);
  char* block = static_cast<char*>(reserve_malloc(kBlock));
  std::memcpy(block, "kept", 5);
  for (std::size_t size = kBlock; !memory_is_short(); size += kReserve / 4) {
    char* const grown = static_cast<char*>(reserve_realloc(block, size));
    if (grown == nullptr) return "null before the reserve was spent";
    block = grown;
    if (size > 100 * kReserve) return "never short";
  }
  return std::strcmp(block, "kept") == 0 ? "" : "the content is lost";
}

TEST(MemoryReserve, ReallocFallsBackOnIt) {
  if (!kLimitsWork) GTEST_SKIP() << "the sanitizer's allocator has no limit";
  EXPECT_EQ(tests::in_child(realloc_falls_back), "");
}

std::string ends_in_bad_alloc() {
  hold_memory_reserve(kReserve);
  limit_memory(4 * kReserve);
  constexpr std::size_t kTooMuch = 100 * kReserve;
  if (reserve_malloc(kTooMuch) != nullptr) return "malloc gave more than there is";
  void* const small = reserve_malloc(8);
  if (reserve_realloc(small, kTooMuch) != nullptr) return "realloc gave more than there is";
  std::vector<char*> blocks;
  blocks.reserve(1000);
  try {
    while (blocks.size() < 1000) blocks.push_back(new char[kReserve]);
  } catch (const std::bad_alloc&) {
    return memory_is_short() ? "" : "not short";
  }
  return "new gave more than there is";
}

TEST(MemoryReserve, WithoutItAllocationsFailAsEver) {
  if (!kLimitsWork) GTEST_SKIP() << "the sanitizer's allocator has no limit";
  EXPECT_EQ(tests::in_child(ends_in_bad_alloc), "");
}

std::string without_shortage() {
  if (memory_is_short()) return "short without a reserve";
  hold_memory_reserve(kReserve);
  if (memory_is_short()) return "short with all of it";
  if (!refill_memory_reserve()) return "a full reserve cannot be refilled";
  void* block = reserve_malloc(100);
  if (block == nullptr) return "no memory";
  block = reserve_realloc(block, 100'000);
  if (block == nullptr) return "no memory";
  std::free(block);
  return "";
}

TEST(MemoryReserve, IsNotTouchedWhileThereIsMemory) {
  EXPECT_EQ(tests::in_child(without_shortage), "");
}

}  // namespace
}  // namespace tlsplice::base
