/*
 * What the steering program, the workers and the master tell each other through two mapped BPF arrays: how
 * loaded each worker is, and what became of each listener's new connections. Every field has one writer, so
 * plain loads and stores do; what the program writes from several CPUs at once it adds atomically. Included
 * by bpf/steering.bpf.c as well, so this is C.
 */
#ifndef TLSPLICE_WIRE_STEERING_H
#define TLSPLICE_WIRE_STEERING_H

#include <linux/types.h>

#include "tlsplice/wire/numbers.h"

/* How a listener's new connections are given to the workers. C's enums are int. */
/* NOLINTNEXTLINE(performance-enum-size) */
enum tlsplice_steering_mode {
  TLSPLICE_STEER_LEAST_LOADED, /* the worker with the fewest flows */
  TLSPLICE_STEER_CPU,          /* the worker of the CPU that received the connection */
  TLSPLICE_STEER_HASH,         /* by the hash of addresses and ports, as the kernel does without a program */
};

/* As many workers are looked at for one connection, beginning at a place that its hash gives. */
#define TLSPLICE_STEER_LOOK_AT 64
/* A worker that has not said that it lives for that long is given nothing new. */
#define TLSPLICE_STEER_SILENCE_NS 1000000000ULL
/* Worker of a CPU that has none. */
#define TLSPLICE_STEER_NO_WORKER 0xffffffffU

/* One row a worker. The load is active + (picked - picked_seen): without the second term a burst that arrives
 * before the worker looks again would go to one worker as a whole. */
struct tlsplice_worker_load {
  /* written by the worker, by the master between two workers */
  __u64 heartbeat_ns; /* CLOCK_MONOTONIC: when its loop last came round; 0: nobody is there */
  __u64 active;       /* flows */
  __u64 picked_seen;  /* `picked` as it was before the worker emptied its listening sockets */
  __u64 draining;     /* 1: takes nothing new, 2: and its listening sockets are closed */
  __u64 process;      /* its pid */
  __u64 accepted;     /* connections, ever: of the workers before it as well */
  __u64 handshakes;   /* with clients, that were completed */
  /* written by the program */
  __u64 picked TLSPLICE_ROW; /* connections given to it, also those that never completed */
  __u64 migrated;            /* of those: taken from another worker's closed listening socket */
  /* written by the master */
  __u64 closed TLSPLICE_ROW; /* 1: its listening sockets are shut, because it is stuck or comes back later */
  __u64 restarts;            /* after a worker ended without being told to */
} TLSPLICE_ROW;

/* One row a listener: what became of the SYNs and of the connections taken from a closed socket. Written by
 * the program alone, but for the name. */
struct tlsplice_steering {
  char listener[TLSPLICE_NAME_SIZE];
  __u64 least_loaded;
  __u64 cpu;
  __u64 hash;
  __u64 migrated;           /* from a closed listening socket to a worker that the program chose */
  __u64 kernel_no_worker;   /* left to the kernel's hash: every worker was draining or silent */
  __u64 kernel_no_socket;   /* left to the kernel's hash: the chosen worker's socket had just gone */
  __u64 migrated_unsteered; /* of those two: from a closed listening socket */
} TLSPLICE_ROW;

#endif /* TLSPLICE_WIRE_STEERING_H */
