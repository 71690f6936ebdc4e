// What a worker may do: nothing but use the descriptors that it inherited. Looked up by the master, taken by
// the worker right after the fork, before the first byte of a client.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "tlsplice/base/result.hpp"

namespace tlsplice::master {

struct Identity {
  uid_t user = 0;
  gid_t group = 0;
};

/// The user that workers run as; none when the process is not root and stays what it is. An empty name means
/// "nobody".
base::Result<std::optional<Identity>> identity_of(const std::string& user);

/// Raises RLIMIT_NOFILE to `wanted` if it can, else as far as it can; returns what it is now.
std::uint64_t raise_descriptor_limit(std::uint64_t wanted);

/// kNetRaw: CAP_NET_RAW, with which a socket may speak as the client (IP_TRANSPARENT). No program that the
/// process might execute would have it.
enum class Keep : std::uint8_t { kNothing, kNetRaw };

/// Gives up groups, user, every capability but those to keep (the bounding set wholly) and the right to gain
/// any (no_new_privs); no core dump and no tracer may read the keys; the process is told to drain when its
/// parent dies.
base::Result<void> drop_privileges(const std::optional<Identity>& identity, pid_t parent,
                                   Keep keep = Keep::kNothing);

}  // namespace tlsplice::master
