#include "tlsplice/base/memory.hpp"

#include <cstdlib>
#include <cstring>
#include <new>

namespace tlsplice::base {
namespace {

void* reserve = nullptr;
std::size_t reserve_bytes = 0;

/// True when there was something to give up, so that trying again makes sense.
bool spend_reserve() {
  if (reserve == nullptr) return false;
  std::free(reserve);
  reserve = nullptr;
  return true;
}

void on_allocation_failure() {
  if (!spend_reserve()) throw std::bad_alloc();
}

}  // namespace

void hold_memory_reserve(std::size_t bytes) {
  reserve_bytes = bytes;
  refill_memory_reserve();
  std::set_new_handler(on_allocation_failure);
}

bool memory_is_short() {
  return reserve_bytes != 0 && reserve == nullptr;
}

bool refill_memory_reserve() {
  if (reserve == nullptr) {
    reserve = std::malloc(reserve_bytes);
    // Touched, or it would be a promise that the kernel need not keep.
    if (reserve != nullptr) std::memset(reserve, 0x5a, reserve_bytes);
  }
  return reserve != nullptr;
}

void* reserve_malloc(std::size_t bytes) {
  void* block = std::malloc(bytes);
  if (block == nullptr && bytes != 0 && spend_reserve()) block = std::malloc(bytes);
  return block;
}

void* reserve_realloc(void* block, std::size_t bytes) {
  void* grown = std::realloc(block, bytes);
  if (grown == nullptr && bytes != 0 && spend_reserve()) grown = std::realloc(block, bytes);
  return grown;
}

}  // namespace tlsplice::base
