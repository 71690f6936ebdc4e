#include "path.hpp"

#include <fmt/format.h>
#include <sys/socket.h>

namespace tlsplice::admin {

base::Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  if (path.size() >= sizeof address.sun_path || !path.starts_with('/')) {
    return base::fail(base::Error::invalid(
        fmt::format("\"{}\" is no name for a socket: expected an absolute path of at most {} bytes", path,
                    sizeof address.sun_path - 1)));
  }
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, path.size());
  return address;
}

}  // namespace tlsplice::admin
