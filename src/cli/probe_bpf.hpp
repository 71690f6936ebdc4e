// What bpf(2) lets the calling process load, tried with the smallest program of each kind. Nothing is
// attached, and what was loaded is gone with its descriptor.
#pragma once

namespace tlsplice::cli {

/// Each is 0, or the errno of the refusal.
struct BpfSupport {
  int sk_reuseport = 0;          // BPF_PROG_TYPE_SK_REUSEPORT, which chooses a worker's socket
  int sk_reuseport_migrate = 0;  // the same, also for connections of a socket that is closed: Linux 5.14
  int tcp_iterator = 0;          // a program run for every TCP socket: Linux 5.8, with BTF
  bool bpffs = false;            // mounted at /sys/fs/bpf: where maps are pinned
};
BpfSupport probe_bpf();

}  // namespace tlsplice::cli
