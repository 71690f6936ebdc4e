// What an errno of bpf(2) means to whoever runs the service. Said once, when something of the room cannot be
// had and the service goes on without it.
#pragma once

#include "tlsplice/base/result.hpp"

namespace tlsplice::steering {

/// "load the steering program: Operation not permitted (start as root, or ...)"
base::Error cannot(const char* doing, int errnum);

}  // namespace tlsplice::steering
