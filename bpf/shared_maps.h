// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The maps that more than one object in bpf/ uses. src/steering/maps.cpp makes them once and hands them to
// each.
#ifndef TLSPLICE_BPF_SHARED_MAPS_H
#define TLSPLICE_BPF_SHARED_MAPS_H

#include <linux/types.h>

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "tlsplice/wire/steering.h"

// Rows that processes write through mmap(2): no system call, no lock.
#define MAPPED_ARRAY(name, row)        \
  struct {                             \
    __uint(type, BPF_MAP_TYPE_ARRAY);  \
    __uint(map_flags, BPF_F_MMAPABLE); \
    __uint(max_entries, 1);            \
    __type(key, __u32);                \
    __type(value, struct row);         \
  } name SEC(".maps")

MAPPED_ARRAY(workers, tlsplice_worker_load);
MAPPED_ARRAY(steering, tlsplice_steering);

#endif  // TLSPLICE_BPF_SHARED_MAPS_H
