/*
 * The numbers of the service, as rows of mapped BPF arrays that bpftool prints with these very names. One
 * worker alone writes a row, and behind the workers' rows there is one for the workers before them (the
 * master's: before a reload), so a sum over the rows of the same listener, target or direction is the
 * service's number; the tables that bpf/numbers.bpf.c prints are those sums. Metric names are the load
 * balancer's (CloudWatch) where it has one. All are totals since the service started, kept over a worker's
 * death, except ActiveFlowCount, which says how many there are now. Rows are as long as whole cache lines, so
 * that workers do not disturb each other.
 */
#ifndef TLSPLICE_WIRE_NUMBERS_H
#define TLSPLICE_WIRE_NUMBERS_H

#include <linux/types.h>

#define TLSPLICE_NAME_SIZE 40   /* of a listener or target group: 32 letters at most */
#define TLSPLICE_TARGET_SIZE 56 /* "[address]:port" */
#define TLSPLICE_ROW __attribute__((aligned(64)))

/* Map `listeners`: row listener * (workers + 1) + worker. */
#define TLSPLICE_LISTENER_COUNTERS(X)                                                               \
  X(ActiveFlowCount)                                                                                \
  X(NewFlowCount)                                                                                   \
  X(ProcessedBytes_FromClient) /* payload, counted as it moves */                                   \
  X(ProcessedBytes_ToClient)                                                                        \
  X(SplicedBytes) /* of both: those that never visited the process */                               \
  X(ClientTLSNegotiationErrorCount)                                                                 \
  X(ClientTLSNegotiationErrorCount_Timeout)    /* by reason: not done within handshake_timeout */   \
  X(ClientTLSNegotiationErrorCount_ClientGone) /* the client left */                                \
  X(ClientTLSNegotiationErrorCount_Protocol)   /* no protocol version in common */                  \
  X(ClientTLSNegotiationErrorCount_Cipher)     /* no cipher suite or group in common */             \
  X(ClientTLSNegotiationErrorCount_NotTls)     /* the first bytes were no TLS record */             \
  X(ClientTLSNegotiationErrorCount_Alert)      /* the client refused with an alert */               \
  X(ClientTLSNegotiationErrorCount_Other)                                                           \
  X(TargetTLSNegotiationErrorCount)                                                                 \
  X(TargetConnectionErrorCount) /* flows that no target took */                                     \
  X(TCP_Client_Reset_Count)                                                                         \
  X(TCP_Target_Reset_Count)                                                                         \
  X(TCP_ELB_Reset_Count)                                                                            \
  X(RejectedFlowCount) /* limits on flows, descriptors, memory: see the map `counters` for which */ \
  X(TruncatedCount)                                                                                 \
  X(IdleTimeoutCount)                                                                               \
  X(KtlsRequiredErrorCount)                                                                         \
  X(ProxyHeaderErrorCount) /* no header of the PROXY protocol where there must be one */

/* Map `targets`: row target * (workers + 1) + worker, over the groups in the order of the configuration. */
#define TLSPLICE_TARGET_COUNTERS(X)                                \
  X(ActiveFlowCount)                                               \
  X(NewFlowCount)                                                  \
  X(ProcessedBytes_ToTarget)                                       \
  X(ProcessedBytes_FromTarget)                                     \
  X(TargetConnectionErrorCount) /* refused, timed out: each try */ \
  X(TargetTLSNegotiationErrorCount)                                \
  X(TCP_Target_Reset_Count)

/* Map `ktls`: TLSPLICE_KTLS_ROWS rows a worker. How many TLS connections moved into the kernel in that
 * direction, and why the others did not: the words of the flow's record. */
#define TLSPLICE_KTLS_COUNTERS(X) \
  X(kernel)                       \
  X(off)                          \
  X(no_kernel_tls)                \
  X(protocol)                     \
  X(cipher)                       \
  X(record_size)                  \
  X(pending_data)                 \
  X(peer_gone)                    \
  X(library)                      \
  X(kernel_refused)

#define TLSPLICE_KTLS_ROWS 4 /* client and target, receive and send */

#define TLSPLICE_FIELD(name) __u64 name;

struct tlsplice_listener {
  char listener[TLSPLICE_NAME_SIZE];
  char protocol[8]; /* "TLS", "TCP" */
  __u64 worker;
  TLSPLICE_LISTENER_COUNTERS(TLSPLICE_FIELD)
} TLSPLICE_ROW;

struct tlsplice_target {
  char target_group[TLSPLICE_NAME_SIZE];
  char target[TLSPLICE_TARGET_SIZE];
  __u64 worker;
  TLSPLICE_TARGET_COUNTERS(TLSPLICE_FIELD)
} TLSPLICE_ROW;

struct tlsplice_ktls {
  char side[8];      /* "client", "target" */
  char direction[8]; /* "receive", "send" */
  __u64 worker;
  TLSPLICE_KTLS_COUNTERS(TLSPLICE_FIELD)
} TLSPLICE_ROW;

/* Map `negotiated`: TLSPLICE_NEGOTIATED_ROWS rows a worker. A row is taken when the worker first meets its
 * combination; the last one is for all combinations that found no row ("other"). */
#define TLSPLICE_NEGOTIATED_ROWS 32
struct tlsplice_negotiated {
  char side[8];      /* "client", "target"; empty: not taken */
  char protocol[16]; /* OpenSSL's names */
  char cipher[40];
  char group[24];
  __u64 worker;
  __u64 NegotiatedCount;
} TLSPLICE_ROW;

#undef TLSPLICE_FIELD

/* Map `histograms`: row listener * (workers + 1) + worker. How long things took: each bucket counts those
 * that took at most so many microseconds and longer than the bucket before allows, the last one all that took
 * longer. How many there were is the sum of the buckets; `_us` is the sum of what they took, in microseconds.
 */
#define TLSPLICE_LONGER 0xffffffffffffffffULL

/* The TLS handshake with the client, from the accepted connection on: those that were completed. */
#define TLSPLICE_HANDSHAKE_BUCKETS(X) \
  X(handshake_upto_1ms, 1000)         \
  X(handshake_upto_2500us, 2500)      \
  X(handshake_upto_5ms, 5000)         \
  X(handshake_upto_10ms, 10000)       \
  X(handshake_upto_25ms, 25000)       \
  X(handshake_upto_50ms, 50000)       \
  X(handshake_upto_100ms, 100000)     \
  X(handshake_upto_250ms, 250000)     \
  X(handshake_upto_500ms, 500000)     \
  X(handshake_upto_1s, 1000000)       \
  X(handshake_upto_2500ms, 2500000)   \
  X(handshake_upto_5s, 5000000)       \
  X(handshake_upto_10s, 10000000)     \
  X(handshake_longer, TLSPLICE_LONGER)

/* The connection to a target, of each try that succeeded. */
#define TLSPLICE_CONNECT_BUCKETS(X) \
  X(connect_upto_250us, 250)        \
  X(connect_upto_500us, 500)        \
  X(connect_upto_1ms, 1000)         \
  X(connect_upto_2500us, 2500)      \
  X(connect_upto_5ms, 5000)         \
  X(connect_upto_10ms, 10000)       \
  X(connect_upto_25ms, 25000)       \
  X(connect_upto_50ms, 50000)       \
  X(connect_upto_100ms, 100000)     \
  X(connect_upto_250ms, 250000)     \
  X(connect_upto_500ms, 500000)     \
  X(connect_upto_1s, 1000000)       \
  X(connect_upto_3s, 3000000)       \
  X(connect_upto_10s, 10000000)     \
  X(connect_longer, TLSPLICE_LONGER)

/* A flow, from the accepted connection to its end, however it ended. */
#define TLSPLICE_FLOW_BUCKETS(X) \
  X(flow_upto_10ms, 10000)       \
  X(flow_upto_100ms, 100000)     \
  X(flow_upto_1s, 1000000)       \
  X(flow_upto_5s, 5000000)       \
  X(flow_upto_10s, 10000000)     \
  X(flow_upto_30s, 30000000)     \
  X(flow_upto_1min, 60000000)    \
  X(flow_upto_5min, 300000000)   \
  X(flow_upto_15min, 900000000)  \
  X(flow_upto_1h, 3600000000)    \
  X(flow_upto_6h, 21600000000)   \
  X(flow_upto_24h, 86400000000)  \
  X(flow_longer, TLSPLICE_LONGER)

#define TLSPLICE_BUCKET(name, upto_us) __u64 name;
struct tlsplice_histograms {
  char listener[TLSPLICE_NAME_SIZE];
  char protocol[8]; /* "TLS", "TCP" */
  __u64 worker;
  __u64 handshake_us;
  TLSPLICE_HANDSHAKE_BUCKETS(TLSPLICE_BUCKET)
  __u64 connect_us;
  TLSPLICE_CONNECT_BUCKETS(TLSPLICE_BUCKET)
  __u64 flow_us;
  TLSPLICE_FLOW_BUCKETS(TLSPLICE_BUCKET)
} TLSPLICE_ROW;
#undef TLSPLICE_BUCKET

#endif /* TLSPLICE_WIRE_NUMBERS_H */
