/*
 * The counters of one worker, as they lie in memory shared by all processes of the service: the map
 * `counters`, row worker. Names are the load balancer's CloudWatch metrics where it has one. A worker alone
 * writes its slot; anyone may read. All are totals since the service started, except Active*, which say how
 * many there are now.
 */
#ifndef TLSPLICE_WIRE_COUNTERS_H
#define TLSPLICE_WIRE_COUNTERS_H

#include <linux/types.h>

#include "tlsplice/wire/numbers.h"

#define TLSPLICE_COUNTERS(X)                                                                                 \
  X(NewFlowCount)                                                                                            \
  X(NewFlowCount_TLS)                                                                                        \
  X(NewFlowCount_TCP)                                                                                        \
  X(ActiveFlowCount)                                                                                         \
  X(ActiveFlowCount_TLS)                                                                                     \
  X(ActiveFlowCount_TCP)                                                                                     \
  X(ProcessedBytes) /* both directions, payload */                                                           \
  X(ProcessedBytes_TLS)                                                                                      \
  X(ProcessedBytes_TCP)                                                                                      \
  X(SplicedBytes)            /* of ProcessedBytes: those that never visited the process */                   \
  X(ClientTLSHandshakeCount) /* completed */                                                                 \
  X(ClientTLSNegotiationErrorCount)                                                                          \
  X(TargetTLSNegotiationErrorCount)                                                                          \
  X(KtlsConnectionCount)             /* TLS connections, client's or target's, that moved into the kernel */ \
  X(UserTlsConnectionCount_Off)      /* those that stayed in user space, by reason: ktls = "off" */          \
  X(UserTlsConnectionCount_Kernel)   /* the kernel has no TLS */                                             \
  X(UserTlsConnectionCount_Protocol) /* TLS 1.0, 1.1 */                                                      \
  X(UserTlsConnectionCount_Cipher)   /* not an AEAD that the kernel has */                                   \
  X(UserTlsConnectionCount_RecordSize)  /* the peer asked for small records */                               \
  X(UserTlsConnectionCount_PendingData) /* OpenSSL held bytes already */                                     \
  X(UserTlsConnectionCount_PeerGone)    /* the peer had ended before the handover */                         \
  X(UserTlsConnectionCount_Library)     /* OpenSSL derived no keys */                                        \
  X(KtlsRequiredErrorCount)             /* refused, because ktls = "require" */                              \
  X(KeyUpdateReceivedCount)             /* TLS 1.3 KeyUpdates from peers, of connections in the kernel */    \
  X(KeyUpdateSentCount)                 /* ours */                                                           \
  X(KeyLimitErrorCount)                 /* ended: key_update_after reached, the key cannot be changed */     \
  X(ProxyHeaderErrorCount)              /* no header of the PROXY protocol where there must be one */        \
  X(TargetConnectionErrorCount)         /* refused, timed out, no local port: each try */                    \
  X(TCP_Client_Reset_Count)                                                                                  \
  X(TCP_Target_Reset_Count)                                                                                  \
  X(TCP_ELB_Reset_Count) /* flows that we ended by resetting a side that had not reset */                    \
  X(TruncatedCount)      /* FIN without close_notify, from either side */                                    \
  X(IdleTimeoutCount)                                                                                        \
  X(RejectedFlowCount_MaxFlows)                                                                              \
  X(RejectedFlowCount_Descriptors)                                                                           \
  X(RejectedFlowCount_Memory)                                                                                \
  X(PortAllocationErrorCount) /* reset: no local port left towards any target that was tried */              \
  X(DroppedLogLineCount)                                                                                     \
  X(DroppedAccessLogLineCount)                                                                               \
  X(WorkerDeathCount)  /* of this slot: ended without being told to */                                       \
  X(MonitorDeathCount) /* the same of the monitor process; in the first slot, by the master */

struct tlsplice_counters {
#define TLSPLICE_COUNTER_FIELD(name) __u64 name;
  TLSPLICE_COUNTERS(TLSPLICE_COUNTER_FIELD)
#undef TLSPLICE_COUNTER_FIELD
} TLSPLICE_ROW;

#endif /* TLSPLICE_WIRE_COUNTERS_H */
