#include "tlsplice/uring/support.hpp"

#include <fmt/format.h>
#include <liburing.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>

namespace tlsplice::uring {
namespace {

constexpr unsigned kEntries = 8;

struct FreeProbe {
  void operator()(io_uring_probe* probe) const { io_uring_free_probe(probe); }
};

bool takes_flags(unsigned flags) {
  io_uring ring{};
  io_uring_params params{};
  params.flags = flags;
  if (io_uring_queue_init_params(kEntries, &ring, &params) != 0) return false;
  io_uring_queue_exit(&ring);
  return true;
}

void ask_for_operations(io_uring& ring, Support& support) {
  const std::unique_ptr<io_uring_probe, FreeProbe> probe(io_uring_get_probe_ring(&ring));
  if (!probe) return;
  const auto has = [&probe](int operation) { return io_uring_opcode_supported(probe.get(), operation) != 0; };
  support.poll_add = has(IORING_OP_POLL_ADD);
  support.connect = has(IORING_OP_CONNECT);
  support.async_cancel = has(IORING_OP_ASYNC_CANCEL);
  support.timeout = has(IORING_OP_TIMEOUT);
  support.splice = has(IORING_OP_SPLICE);
}

/// The value of a "Name:\tvalue" line of /proc/self/status, 0 when there is none.
int own_status(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name + ':')) return std::atoi(line.c_str() + name.size() + 1);
  }
  return 0;
}

std::string who_forbids() {
  constexpr const char* kAllow =
      "as root: sysctl kernel.io_uring_disabled=0, and for every boot the same line in /etc/sysctl.d";
  switch (disabled_setting()) {
    case 2:
      return fmt::format("kernel.io_uring_disabled is 2, which forbids it to everyone; {}", kAllow);
    case 1:
      return fmt::format(
          "kernel.io_uring_disabled is 1, which forbids it to users outside the group kernel.io_uring_group, "
          "as workers are; {}",
          kAllow);
    default:
      break;
  }
  if (own_status("Seccomp") == 2) {
    return "a seccomp filter forbids it, as those of containers do; allow io_uring_setup, io_uring_enter and "
           "io_uring_register in the container's seccomp profile (docker run --security-opt "
           "seccomp=PROFILE.json) or in the unit's SystemCallFilter=";
  }
  return "neither kernel.io_uring_disabled nor a seccomp filter forbids it, so a security module (SELinux, "
         "AppArmor, BPF LSM) does; the kernel's log or the audit log names it";
}

}  // namespace

Support probe() {
  Support support;
  io_uring ring{};
  io_uring_params params{};
  support.error = -io_uring_queue_init_params(kEntries, &ring, &params);
  if (support.error != 0) return support;
  ask_for_operations(ring, support);
  support.wait_timeout = (params.features & IORING_FEAT_EXT_ARG) != 0;
  support.skip_success = (params.features & IORING_FEAT_CQE_SKIP) != 0;
  io_uring_queue_exit(&ring);
  support.single_issuer = takes_flags(IORING_SETUP_SINGLE_ISSUER);
  support.defer_taskrun = takes_flags(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
  return support;
}

int disabled_setting() {
  int value = -1;
  std::ifstream("/proc/sys/kernel/io_uring_disabled") >> value;
  return value;
}

base::Error refusal(int error) {
  const auto because = [error](const std::string& why) {
    return base::Error::system(fmt::format("io_uring_setup ({})", why), error);
  };
  switch (error) {
    case EPERM:
    case EACCES:
      return because(who_forbids());
    case ENOSYS:
      return because("the kernel was built without CONFIG_IO_URING, or a seccomp filter hides it");
    case ENOMEM:
      return because("raise ulimit -l: before Linux 5.12 rings count against it");
    default:
      return base::Error::system("io_uring_setup", error);
  }
}

}  // namespace tlsplice::uring
