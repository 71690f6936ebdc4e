#include "remedy.hpp"

#include <fmt/format.h>

#include <cerrno>

namespace tlsplice::steering {
namespace {

const char* remedy(int errnum) {
  switch (errnum) {
    case EPERM:
    case EACCES:
      return "start as root, or grant CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN (systemd: AmbientCapabilities=)";
    case EINVAL:
    case ENOSYS:
    case ENOTSUP:
      return "needs Linux 5.17 with CONFIG_BPF_SYSCALL";
    default:
      return "see the kernel's message (dmesg)";
  }
}

}  // namespace

base::Error cannot(const char* doing, int errnum) {
  base::Error error = base::Error::system(doing, errnum);
  error.detail += fmt::format(" ({})", remedy(errnum));
  return error;
}

}  // namespace tlsplice::steering
