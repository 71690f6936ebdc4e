// Trying something with exactly the rights that a worker would have, without becoming a worker: what root may
// do says nothing of what a worker may.
#pragma once

#include <functional>
#include <string>

#include "tlsplice/base/result.hpp"

namespace tlsplice::master {

/// Runs `body` in a child that has given up what a worker gives up (user, groups, capabilities, the right to
/// gain any) and waits for its end. What the child finds out it leaves in memory that the caller shares with
/// it. An empty `user` is the default of the configuration. To be called from a process with one thread.
base::Result<void> rehearse(const std::string& user, const std::function<void()>& body);

}  // namespace tlsplice::master
