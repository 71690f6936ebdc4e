/*
 * How the targets are, as rows of two mapped BPF arrays. The monitor process alone writes them; workers read
 * which targets of a group to use, people read all of it. Words of states and reasons are the load balancer's
 * (DescribeTargetHealth). The rows outlive the monitor process: its successor goes on from them.
 */
#ifndef TLSPLICE_WIRE_HEALTH_H
#define TLSPLICE_WIRE_HEALTH_H

#include <linux/types.h>

#include "tlsplice/wire/numbers.h"

#define TLSPLICE_STATE_SIZE 24  /* "unhealthy.draining" */
#define TLSPLICE_REASON_SIZE 40 /* "Target.ResponseCodeMismatch"; empty: healthy */
#define TLSPLICE_USABLE_WORDS 16
#define TLSPLICE_TARGETS_OF_A_GROUP_MAX (TLSPLICE_USABLE_WORDS * 64)

/* Map `target_health`: a row for each target, over the groups in the order of the configuration. */
struct tlsplice_target_health {
  char target_group[TLSPLICE_NAME_SIZE];
  char target[TLSPLICE_TARGET_SIZE];
  char state[TLSPLICE_STATE_SIZE];
  char reason[TLSPLICE_REASON_SIZE];
  __u64 consecutive_passes; /* checks in a row, up to the last one */
  __u64 consecutive_failures;
  __u64 PassedCheckCount; /* since the service started */
  __u64 FailedCheckCount;
  __u64 StateChangeCount;
  __u64 changed_at; /* the state, and the last check; seconds since 1970, 0: never */
  __u64 checked_at;
  __u64 draining_until; /* of "unhealthy.draining", else 0: CLOCK_MONOTONIC, in nanoseconds */
} TLSPLICE_ROW;

/* Map `target_groups`: a row for each group, in the order of the configuration. */
struct tlsplice_target_group {
  char target_group[TLSPLICE_NAME_SIZE];
  __u64 targets; /* registered */
  __u64 HealthyHostCount;
  __u64 UnHealthyHostCount;
  __u64 fail_open;                     /* 1: too few are healthy, so all are used */
  __u64 checked;                       /* 0: health_check is off, or no listener forwards here */
  __u64 usable[TLSPLICE_USABLE_WORDS]; /* bit n % 64 of word n / 64: the group's target n is to be used */
} TLSPLICE_ROW;

#endif /* TLSPLICE_WIRE_HEALTH_H */
