// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Gives each new connection of one listener to a worker, and each connection that waits on a closed listening
// socket to another one (BPF_SK_REUSEPORT_SELECT_OR_MIGRATE, Linux 5.14). Loaded once for each listener, with
// the constants below set; the maps `workers` and `steering` are shared by all. Returning SK_PASS without a
// choice leaves the connection to the kernel's hash: whatever goes wrong here, no connection is refused.
#include <linux/types.h>

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "shared_maps.h"

const volatile __u32 listener = 0;  // row in `steering`
const volatile __u32 worker_count = 1;
const volatile __u32 mode = TLSPLICE_STEER_LEAST_LOADED;

// The listening socket of each worker. A key, never a position in the kernel's group: that changes whenever a
// socket closes.
struct {
  __uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} sockets SEC(".maps");

// The worker of each CPU.
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u32);
} cpus SEC(".maps");

#define READ(field) (*(const volatile __u64*)&(field))
#define COUNT(field) __sync_fetch_and_add(&(field), 1)

static __always_inline struct tlsplice_worker_load* taker(__u32 key, __u64 now) {
  struct tlsplice_worker_load* worker = bpf_map_lookup_elem(&workers, &key);
  if (!worker || READ(worker->draining) || READ(worker->closed)) return 0;
  __u64 heartbeat = READ(worker->heartbeat_ns);
  // Signed: another CPU's clock may be a little ahead of ours.
  if (!heartbeat || (__s64)(now - heartbeat) > (__s64)TLSPLICE_STEER_SILENCE_NS) return 0;
  return worker;
}

// What one walk over the workers carries along. bpf_loop (Linux 5.17), because the verifier would follow
// every path through a loop of our own.
struct search {
  __u64 now;
  __u64 best_load;
  __u32 key;  // looked at next
  __u32 best;
};

static long weigh(__u32 index, void* context) {
  struct search* search = context;
  struct tlsplice_worker_load* worker = taker(search->key, search->now);
  if (worker) {
    __u64 load = READ(worker->active) + READ(worker->picked) - READ(worker->picked_seen);
    if (load < search->best_load) {
      search->best_load = load;
      search->best = search->key;
    }
  }
  if (++search->key >= worker_count) search->key = 0;
  return 0;
}

static long take_first(__u32 index, void* context) {
  struct search* search = context;
  if (taker(search->key, search->now)) {
    search->best = search->key;
    return 1;  // ends the walk
  }
  if (++search->key >= worker_count) search->key = 0;
  return 0;
}

static __always_inline __u32 steps(void) {
  return worker_count < TLSPLICE_STEER_LOOK_AT ? worker_count : TLSPLICE_STEER_LOOK_AT;
}

// Workers with equal load have turns: the first one looked at depends on the hash.
static __always_inline __u32 least_loaded(__u32 hash, __u64 now) {
  struct search search = {now, ~0ULL, hash % worker_count, TLSPLICE_STEER_NO_WORKER};
  bpf_loop(steps(), weigh, &search, 0);
  return search.best;
}

// The worker that the hash names, or the next one that takes connections.
static __always_inline __u32 by_hash(__u32 hash, __u64 now) {
  struct search search = {now, 0, ((__u64)hash * worker_count) >> 32, TLSPLICE_STEER_NO_WORKER};
  bpf_loop(steps(), take_first, &search, 0);
  return search.best;
}

static __always_inline __u32 by_cpu(__u64 now) {
  __u32 cpu = bpf_get_smp_processor_id();
  __u32* key = bpf_map_lookup_elem(&cpus, &cpu);
  return key && taker(*key, now) ? *key : TLSPLICE_STEER_NO_WORKER;
}

static __always_inline void choose(struct sk_reuseport_md* context, struct tlsplice_steering* outcomes) {
  // Read once, and kept: the verifier takes no pointer into the context that a compiler has computed.
  __u64 migrating = context->migrating_sk != 0;
  barrier_var(migrating);
  __u64 now = bpf_ktime_get_ns();
  __u64* outcome = &outcomes->least_loaded;
  __u32 key = TLSPLICE_STEER_NO_WORKER;
  if (mode == TLSPLICE_STEER_HASH) {
    key = by_hash(context->hash, now);
    outcome = &outcomes->hash;
  } else if (mode == TLSPLICE_STEER_CPU && !migrating) {
    key = by_cpu(now);
    outcome = &outcomes->cpu;
  }
  if (key == TLSPLICE_STEER_NO_WORKER) {
    key = least_loaded(context->hash, now);
    outcome = &outcomes->least_loaded;
  }
  if (migrating) outcome = &outcomes->migrated;
  if (key == TLSPLICE_STEER_NO_WORKER) {
    outcome = &outcomes->kernel_no_worker;
  } else if (bpf_sk_select_reuseport(context, &sockets, &key, 0)) {
    outcome = &outcomes->kernel_no_socket;
    key = TLSPLICE_STEER_NO_WORKER;
  }
  COUNT(*outcome);
  if (key == TLSPLICE_STEER_NO_WORKER) {
    if (migrating) COUNT(outcomes->migrated_unsteered);
    return;
  }
  struct tlsplice_worker_load* worker = bpf_map_lookup_elem(&workers, &key);
  if (!worker) return;
  COUNT(worker->picked);
  if (migrating) COUNT(worker->migrated);
}

SEC("sk_reuseport/migrate")
int tlsplice_steer(struct sk_reuseport_md* context) {
  __u32 row = listener;
  struct tlsplice_steering* outcomes = bpf_map_lookup_elem(&steering, &row);
  if (outcomes) choose(context, outcomes);
  return SK_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
