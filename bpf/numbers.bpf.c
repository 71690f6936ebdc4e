// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The maps that the numbers of the service lie in, and BPF iterators (Linux 5.9, with BTF) that print them as
// aligned tables: pinned, they are files for cat(1). A table sums over the workers, whose rows stand side by
// side.
#include <linux/types.h>

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "shared_maps.h"
#include "tlsplice/wire/counters.h"
#include "tlsplice/wire/health.h"
#include "tlsplice/wire/numbers.h"

// Rows of each listener or target: one a worker, and one for generations of workers before them.
const volatile __u32 stride = 1;

MAPPED_ARRAY(counters, tlsplice_counters);
MAPPED_ARRAY(listeners, tlsplice_listener);
MAPPED_ARRAY(targets, tlsplice_target);
MAPPED_ARRAY(negotiated, tlsplice_negotiated);
MAPPED_ARRAY(ktls, tlsplice_ktls);
MAPPED_ARRAY(histograms, tlsplice_histograms);
MAPPED_ARRAY(target_health, tlsplice_target_health);
MAPPED_ARRAY(target_groups, tlsplice_target_group);

// As in the kernel's kernel/bpf/map_iter.c and include/linux/bpf.h.
struct seq_file;
struct bpf_iter_meta {
  struct seq_file* seq;
  __u64 session_id;
  __u64 seq_num;
};
struct bpf_iter__bpf_map_elem {
  struct bpf_iter_meta* meta;
  struct bpf_map* map;
  __u32* key;
  void* value;
};

// BPF_SEQ_PRINTF, with the format in the object's constants and every argument a __u64.
#define PRINT(seq, format, ...)                                          \
  ({                                                                     \
    static const char text[] = format;                                   \
    const __u64 arguments[] = {__VA_ARGS__};                             \
    bpf_seq_printf(seq, text, sizeof text, arguments, sizeof arguments); \
  })
#define HEADING(seq, format)                      \
  ({                                              \
    static const char text[] = format;            \
    bpf_seq_printf(seq, text, sizeof text, 0, 0); \
  })
#define STRING(characters) ((__u64)(unsigned long)(characters))

// The counters of a row are __u64, one after the other, from `first` on.
#define ADD_ALL(totals, first)                                                        \
  do {                                                                                \
    const __u64* values = (const __u64*)(first);                                      \
    _Pragma("unroll") for (unsigned i = 0; i < sizeof(totals) / 8; ++i)(totals)[i] += \
        ((const volatile __u64*)values)[i];                                           \
  } while (0)

#define ONE(name) +1

struct listener_sum {
  __u32 key;
  __u64 totals[TLSPLICE_LISTENER_COUNTERS(ONE)];
};

static long add_listener(__u32 index, void* context) {
  struct listener_sum* sum = context;
  __u32 key = sum->key + index;
  const struct tlsplice_listener* row = bpf_map_lookup_elem(&listeners, &key);
  if (row) ADD_ALL(sum->totals, &row->ActiveFlowCount);
  return 0;
}

#define PLACE(type, name) \
  ((__builtin_offsetof(struct type, name) - __builtin_offsetof(struct type, ActiveFlowCount)) / 8)
#define LISTENER(name) sum.totals[PLACE(tlsplice_listener, name)]
#define TARGET(name) sum.totals[PLACE(tlsplice_target, name)]

SEC("iter/bpf_map_elem")
int show_listeners(struct bpf_iter__bpf_map_elem* context) {
  struct seq_file* seq = context->meta->seq;
  const __u32* key = context->key;
  const struct tlsplice_listener* row = context->value;
  if (!key || !row || *key % stride) return 0;
  if (*key == 0)
    HEADING(seq,
            "LISTENER                           ACTIVE        NEW  BYTES_FROM_CLIENT    BYTES_TO_CLIENT"
            " TLS_ERRORS TARGET_TLS CLIENT_RST TARGET_RST    ELB_RST   REJECTED  TRUNCATED\n");
  struct listener_sum sum = {.key = *key};
  bpf_loop(stride, add_listener, &sum, 0);
  PRINT(seq, "%-32s %8llu %10llu %18llu %18llu %10llu %10llu %10llu %10llu %10llu %10llu %10llu\n",
        STRING(row->listener), LISTENER(ActiveFlowCount), LISTENER(NewFlowCount),
        LISTENER(ProcessedBytes_FromClient), LISTENER(ProcessedBytes_ToClient),
        LISTENER(ClientTLSNegotiationErrorCount), LISTENER(TargetTLSNegotiationErrorCount),
        LISTENER(TCP_Client_Reset_Count), LISTENER(TCP_Target_Reset_Count), LISTENER(TCP_ELB_Reset_Count),
        LISTENER(RejectedFlowCount), LISTENER(TruncatedCount));
  return 0;
}

struct target_sum {
  __u32 key;
  __u64 totals[TLSPLICE_TARGET_COUNTERS(ONE)];
};

static long add_target(__u32 index, void* context) {
  struct target_sum* sum = context;
  __u32 key = sum->key + index;
  const struct tlsplice_target* row = bpf_map_lookup_elem(&targets, &key);
  if (row) ADD_ALL(sum->totals, &row->ActiveFlowCount);
  return 0;
}

SEC("iter/bpf_map_elem")
int show_targets(struct bpf_iter__bpf_map_elem* context) {
  struct seq_file* seq = context->meta->seq;
  const __u32* key = context->key;
  const struct tlsplice_target* row = context->value;
  if (!key || !row || *key % stride) return 0;
  if (*key == 0)
    HEADING(seq,
            "TARGET_GROUP                     TARGET                           ACTIVE        NEW"
            "    BYTES_TO_TARGET  BYTES_FROM_TARGET CONN_ERRORS TLS_ERRORS TARGET_RST\n");
  struct target_sum sum = {.key = *key};
  bpf_loop(stride, add_target, &sum, 0);
  PRINT(seq, "%-32s %-30s %8llu %10llu %18llu %18llu %11llu %10llu %10llu\n", STRING(row->target_group),
        STRING(row->target), TARGET(ActiveFlowCount), TARGET(NewFlowCount), TARGET(ProcessedBytes_ToTarget),
        TARGET(ProcessedBytes_FromTarget), TARGET(TargetConnectionErrorCount),
        TARGET(TargetTLSNegotiationErrorCount), TARGET(TCP_Target_Reset_Count));
  return 0;
}

SEC("iter/bpf_map_elem")
int show_workers(struct bpf_iter__bpf_map_elem* context) {
  struct seq_file* seq = context->meta->seq;
  const __u32* key = context->key;
  const struct tlsplice_worker_load* row = context->value;
  if (!key || !row) return 0;
  if (*key == 0)
    HEADING(seq,
            "WORKER     PID STATE     SILENT_MS   ACTIVE   ACCEPTED HANDSHAKES     PICKED   MIGRATED"
            "   RESTARTS\n");
  __u64 now = bpf_ktime_get_ns();
  __u64 silent = row->heartbeat_ns && now > row->heartbeat_ns ? (now - row->heartbeat_ns) / 1000000 : 0;
  static const char kGone[] = "gone", kShut[] = "stuck", kDraining[] = "draining", kSilent[] = "silent",
                    kServing[] = "serving";
  const char* state = !row->heartbeat_ns                             ? kGone
                      : row->closed                                  ? kShut
                      : row->draining                                ? kDraining
                      : silent * 1000000 > TLSPLICE_STEER_SILENCE_NS ? kSilent
                                                                     : kServing;
  PRINT(seq, "%6u %7llu %-9s %9llu %8llu %10llu %10llu %10llu %10llu %10llu\n", *key, row->process,
        STRING(state), silent, row->active, row->accepted, row->handshakes, row->picked, row->migrated,
        row->restarts);
  return 0;
}

// One line for each combination and worker that has met it.
SEC("iter/bpf_map_elem")
int show_negotiated(struct bpf_iter__bpf_map_elem* context) {
  struct seq_file* seq = context->meta->seq;
  const __u32* key = context->key;
  const struct tlsplice_negotiated* row = context->value;
  if (!key || !row) return 0;
  if (*key == 0)
    HEADING(seq,
            "WORKER SIDE   PROTOCOL CIPHER                                   GROUP"
            "                        COUNT\n");
  if (!row->side[0]) return 0;
  PRINT(seq, "%6llu %-6s %-8s %-40s %-24s %10llu\n", row->worker, STRING(row->side), STRING(row->protocol),
        STRING(row->cipher), STRING(row->group), row->NegotiatedCount);
  return 0;
}

#define OR(name) | row->name

SEC("iter/bpf_map_elem")
int show_ktls(struct bpf_iter__bpf_map_elem* context) {
  struct seq_file* seq = context->meta->seq;
  const __u32* key = context->key;
  const struct tlsplice_ktls* row = context->value;
  if (!key || !row) return 0;
  if (*key == 0)
    HEADING(seq,
            "WORKER SIDE   DIRECTION     KERNEL        OFF NO_KERNEL_TLS   PROTOCOL     CIPHER RECORD_SIZE"
            " PENDING_DATA  PEER_GONE OTHER\n");
  if (row->worker + 1 == stride && !(0 TLSPLICE_KTLS_COUNTERS(OR))) return 0;  // nothing before the workers
  PRINT(seq, "%6llu %-6s %-9s %10llu %10llu %13llu %10llu %10llu %11llu %12llu %10llu %5llu\n", row->worker,
        STRING(row->side), STRING(row->direction), row->kernel, row->off, row->no_kernel_tls, row->protocol,
        row->cipher, row->record_size, row->pending_data, row->peer_gone, row->library + row->kernel_refused);
  return 0;
}

SEC("iter/bpf_map_elem")
int show_steering(struct bpf_iter__bpf_map_elem* context) {
  struct seq_file* seq = context->meta->seq;
  const __u32* key = context->key;
  const struct tlsplice_steering* row = context->value;
  if (!key || !row) return 0;
  if (*key == 0)
    HEADING(seq,
            "LISTENER                         LEAST_LOADED        CPU       HASH   MIGRATED NO_WORKER"
            " NO_SOCKET MIGRATED_UNSTEERED\n");
  PRINT(seq, "%-32s %12llu %10llu %10llu %10llu %9llu %9llu %18llu\n", STRING(row->listener),
        row->least_loaded, row->cpu, row->hash, row->migrated, row->kernel_no_worker, row->kernel_no_socket,
        row->migrated_unsteered);
  return 0;
}

struct timing_sum {
  __u32 key;
  __u64 handshakes, handshake_us, connects, connect_us, flows, flow_us;
};

#define ADD_BUCKET(name, upto_us) +row->name

static long add_timing(__u32 index, void* context) {
  struct timing_sum* sum = context;
  __u32 key = sum->key + index;
  const struct tlsplice_histograms* row = bpf_map_lookup_elem(&histograms, &key);
  if (!row) return 0;
  sum->handshakes += 0 TLSPLICE_HANDSHAKE_BUCKETS(ADD_BUCKET);
  sum->connects += 0 TLSPLICE_CONNECT_BUCKETS(ADD_BUCKET);
  sum->flows += 0 TLSPLICE_FLOW_BUCKETS(ADD_BUCKET);
  sum->handshake_us += row->handshake_us;
  sum->connect_us += row->connect_us;
  sum->flow_us += row->flow_us;
  return 0;
}

static __u64 mean(__u64 sum, __u64 count) {
  return count ? sum / count : 0;
}

SEC("iter/bpf_map_elem")
int show_histograms(struct bpf_iter__bpf_map_elem* context) {
  struct seq_file* seq = context->meta->seq;
  const __u32* key = context->key;
  const struct tlsplice_histograms* row = context->value;
  if (!key || !row || *key % stride) return 0;
  if (*key == 0)
    HEADING(seq,
            "LISTENER                         HANDSHAKES HANDSHAKE_US   CONNECTS CONNECT_US      FLOWS"
            "      FLOW_MS\n");
  struct timing_sum sum = {.key = *key};
  bpf_loop(stride, add_timing, &sum, 0);
  PRINT(seq, "%-32s %10llu %12llu %10llu %10llu %10llu %12llu\n", STRING(row->listener), sum.handshakes,
        mean(sum.handshake_us, sum.handshakes), sum.connects, mean(sum.connect_us, sum.connects), sum.flows,
        mean(sum.flow_us, sum.flows) / 1000);
  return 0;
}

// A target without a reason is healthy.
SEC("iter/bpf_map_elem")
int show_target_health(struct bpf_iter__bpf_map_elem* context) {
  struct seq_file* seq = context->meta->seq;
  const __u32* key = context->key;
  const struct tlsplice_target_health* row = context->value;
  if (!key || !row) return 0;
  if (*key == 0)
    HEADING(seq,
            "TARGET_GROUP                     TARGET                         STATE              "
            "REASON                          PASSED     FAILED    CHANGES CHANGED_AT CHECKED_AT\n");
  if (!row->target[0]) return 0;
  static const char kNone[] = "-";
  PRINT(seq, "%-32s %-30s %-18s %-27s %10llu %10llu %10llu %10llu %10llu\n", STRING(row->target_group),
        STRING(row->target), STRING(row->state), row->reason[0] ? STRING(row->reason) : STRING(kNone),
        row->PassedCheckCount, row->FailedCheckCount, row->StateChangeCount, row->changed_at,
        row->checked_at);
  return 0;
}

SEC("iter/bpf_map_elem")
int show_target_groups(struct bpf_iter__bpf_map_elem* context) {
  struct seq_file* seq = context->meta->seq;
  const __u32* key = context->key;
  const struct tlsplice_target_group* row = context->value;
  if (!key || !row) return 0;
  if (*key == 0)
    HEADING(seq, "TARGET_GROUP                     TARGETS HEALTHY UNHEALTHY FAIL_OPEN CHECKED\n");
  PRINT(seq, "%-32s %7llu %7llu %9llu %9llu %7llu\n", STRING(row->target_group), row->targets,
        row->HealthyHostCount, row->UnHealthyHostCount, row->fail_open, row->checked);
  return 0;
}

struct counter_sum {
  __u64 totals[TLSPLICE_COUNTERS(ONE)];
};

static long add_counters(__u32 index, void* context) {
  struct counter_sum* sum = context;
  __u32 key = index;
  const struct tlsplice_counters* row = bpf_map_lookup_elem(&counters, &key);
  if (row) ADD_ALL(sum->totals, row);
  return 0;
}

// One line for each counter: there are too many for columns.
SEC("iter/bpf_map_elem")
int show_counters(struct bpf_iter__bpf_map_elem* context) {
  struct seq_file* seq = context->meta->seq;
  const __u32* key = context->key;
  if (!key || *key != 0) return 0;
  HEADING(seq, "COUNTER                                             SUM\n");
  struct counter_sum sum = {};
  bpf_loop(stride, add_counters, &sum, 0);
#define PRINT_COUNTER(name)                         \
  PRINT(seq, "%-36s %18llu\n", STRING(&(#name)[0]), \
        sum.totals[__builtin_offsetof(struct tlsplice_counters, name) / 8]);
  TLSPLICE_COUNTERS(PRINT_COUNTER)
#undef PRINT_COUNTER
  return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
