// The file name of a Unix socket as an address, for both ends of the admin socket. Names of the abstract kind
// are not for us: they have no permissions.
#pragma once

#include <sys/un.h>

#include <string>

#include "tlsplice/base/result.hpp"

namespace tlsplice::admin {

/// Fails when the name does not fit (107 bytes) or is not absolute.
base::Result<sockaddr_un> address_of(const std::string& path);

}  // namespace tlsplice::admin
