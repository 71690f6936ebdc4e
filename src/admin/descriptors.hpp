// Bytes with descriptors beside them on a Unix socket (unix(7), SCM_RIGHTS): the one place that knows how
// such a message is laid out.
#pragma once

#include <sys/types.h>

#include <span>
#include <vector>

#include "tlsplice/base/fd.hpp"

namespace tlsplice::admin {

// Descriptors that go with one message at most: the kernel's SCM_MAX_FD.
inline constexpr std::size_t kDescriptorsPerMessage = 253;

/// sendmsg(2) that never waits and raises no signal: bytes sent, or a negative errno. The descriptors go with
/// the first byte, and stay the caller's.
ssize_t send_with(int socket, std::span<const char> bytes, std::span<const base::Fd> descriptors);

/// recvmsg(2): bytes received, 0 at the end, or a negative errno. What descriptors came is put behind those
/// that `descriptors` holds.
ssize_t receive_with(int socket, std::span<char> into, std::vector<base::Fd>& descriptors);

}  // namespace tlsplice::admin
