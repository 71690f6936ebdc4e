// A block of memory held back, so that a process which runs out of memory gives up new flows instead of
// dying: when an allocation fails, the reserve is freed and the allocation tried again; memory_is_short()
// then stays true until refill_memory_reserve() has been able to take the reserve back. Process-wide, because
// the allocator is.
#pragma once

#include <cstddef>

namespace tlsplice::base {

/// Takes the reserve and makes operator new fall back on it. Once for each process, before it serves.
void hold_memory_reserve(std::size_t bytes);

bool memory_is_short();

/// Tries to take the reserve back after it was spent; true when it is held.
bool refill_memory_reserve();

/// malloc(3) and realloc(3) that fall back on the reserve; null when even that is gone. Free with free(3).
void* reserve_malloc(std::size_t bytes);
void* reserve_realloc(void* block, std::size_t bytes);

}  // namespace tlsplice::base
