// What io_uring is allowed and able to do here, tried by making a ring; and, where it is refused, by whom and
// what would allow it.
#pragma once

#include "tlsplice/base/result.hpp"

namespace tlsplice::uring {

/// Plain bytes: a child that tries with a worker's rights hands it over in shared memory.
struct Support {
  int error = 0;  // errno of io_uring_setup(2); 0: there was a ring, and the rest means something
  // Operations (io_uring_register(2), IORING_REGISTER_PROBE).
  bool poll_add = false;
  bool connect = false;
  bool async_cancel = false;
  bool timeout = false;
  bool splice = false;
  // Features and setup flags.
  bool wait_timeout = false;   // IORING_FEAT_EXT_ARG: io_uring_enter(2) with a time limit
  bool skip_success = false;   // IORING_FEAT_CQE_SKIP: a cancellation that worked says nothing
  bool defer_taskrun = false;  // IORING_SETUP_DEFER_TASKRUN: Linux 6.1
  bool single_issuer = false;  // IORING_SETUP_SINGLE_ISSUER: Linux 6.0

  /// Whether Ring can work: false means that nothing can be served here.
  bool sufficient() const {
    return error == 0 && poll_add && connect && async_cancel && timeout && wait_timeout && skip_success;
  }
};
Support probe();

/// kernel.io_uring_disabled: 0, 1 or 2; -1 on a kernel that has no such setting (before Linux 6.6).
int disabled_setting();

/// For people: who refuses io_uring_setup with this errno, and how to allow it. Looks at the setting and at
/// the filters of the calling process.
base::Error refusal(int error);

}  // namespace tlsplice::uring
