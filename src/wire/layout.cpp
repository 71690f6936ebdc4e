// What C and C++ must agree on about the shared structs.
#include <type_traits>

#include "tlsplice/wire/counters.h"

static_assert(std::is_standard_layout_v<tlsplice_counters> &&
              std::is_trivially_copyable_v<tlsplice_counters>);
static_assert(sizeof(tlsplice_counters) % sizeof(__u64) == 0);
