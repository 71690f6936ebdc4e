#include "tlsplice/master/rehearse.hpp"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "privileges.hpp"

namespace tlsplice::master {

base::Result<void> rehearse(const std::string& user, const std::function<void()>& body) {
  const auto identity = identity_of(user);
  if (!identity) return base::fail(identity.error());
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) return base::fail(base::Error::system("fork", errno));
  if (child == 0) {
    if (!drop_privileges(*identity, parent)) ::_exit(1);
    body();
    ::_exit(0);
  }
  int status = 0;
  if (::waitpid(child, &status, 0) != child) return base::fail(base::Error::system("waitpid", errno));
  if (status != 0) {
    return base::fail(base::Error::invalid(
        fmt::format("a process with a worker's rights ended with wait status {:#x}", status)));
  }
  return {};
}

}  // namespace tlsplice::master
