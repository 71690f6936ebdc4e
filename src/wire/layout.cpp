// What C and C++ must agree on about the shared structs, and what a mapped BPF array asks of its rows.
#include <cstddef>
#include <type_traits>

#include "tlsplice/wire/counters.h"
#include "tlsplice/wire/health.h"
#include "tlsplice/wire/numbers.h"
#include "tlsplice/wire/steering.h"

template <typename Row>
constexpr bool kIsRow = std::is_standard_layout_v<Row> && std::is_trivially_copyable_v<Row> &&
                        sizeof(Row) % 64 == 0 && alignof(Row) == 64;

static_assert(kIsRow<tlsplice_counters> && kIsRow<tlsplice_listener> && kIsRow<tlsplice_target>);
static_assert(kIsRow<tlsplice_negotiated> && kIsRow<tlsplice_ktls> && kIsRow<tlsplice_histograms>);
static_assert(kIsRow<tlsplice_target_health> && kIsRow<tlsplice_target_group>);
static_assert(kIsRow<tlsplice_worker_load> && kIsRow<tlsplice_steering>);

// The worker, the steering program and the master each write a cache line of their own.
static_assert(offsetof(tlsplice_worker_load, handshakes) < 64);
static_assert(offsetof(tlsplice_worker_load, picked) == 64 && offsetof(tlsplice_worker_load, closed) == 128);

// bpf/numbers.bpf.c sums the counters of a row as one run of numbers.
static_assert(offsetof(tlsplice_listener, ProxyHeaderErrorCount) -
                  offsetof(tlsplice_listener, ActiveFlowCount) ==
              22 * sizeof(__u64));
static_assert(offsetof(tlsplice_target, TCP_Target_Reset_Count) -
                  offsetof(tlsplice_target, ActiveFlowCount) ==
              6 * sizeof(__u64));
