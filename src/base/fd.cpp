#include "tlsplice/base/fd.hpp"

#include <unistd.h>

namespace tlsplice::base {

Fd::~Fd() {
  // EINTR from close(2) on Linux means that it is closed all the same: never repeated.
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace tlsplice::base
