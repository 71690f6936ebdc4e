#include "privileges.hpp"

#include <fmt/format.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

namespace tlsplice::master {
namespace {

using base::Error;
using base::Result;

constexpr const char* kDefaultUser = "nobody";

/// Before the user changes: afterwards CAP_SETPCAP is gone. A process without it cannot, and need not: it is
/// not root.
Result<void> empty_bounding_set() {
  for (unsigned long capability = 0; ::prctl(PR_CAPBSET_READ, capability) >= 0; ++capability) {
    if (::prctl(PR_CAPBSET_DROP, capability) != 0 && errno != EPERM) {
      return base::fail(Error::system(fmt::format("drop capability {}", capability), errno));
    }
  }
  return {};
}

Result<void> become(const Identity& identity) {
  if (::setgroups(0, nullptr) != 0)
    return base::fail(Error::system("give up the supplementary groups", errno));
  if (::setresgid(identity.group, identity.group, identity.group) != 0) {
    return base::fail(Error::system(fmt::format("become group {}", identity.group), errno));
  }
  if (::setresuid(identity.user, identity.user, identity.user) != 0) {
    return base::fail(Error::system(fmt::format("become user {}", identity.user), errno));
  }
  return {};
}

Result<void> reduce_capabilities(Keep keep) {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct kept[_LINUX_CAPABILITY_U32S_3] = {};
  if (keep == Keep::kNetRaw) kept[0].effective = kept[0].permitted = 1U << CAP_NET_RAW;
  if (::syscall(SYS_capset, &header, kept) != 0) {
    return base::fail(Error::system(
        keep == Keep::kNetRaw ? "keep CAP_NET_RAW, without the other capabilities" : "give up capabilities",
        errno));
  }
  return {};
}

/// The leak check of the sanitizer build traces its own process.
constexpr unsigned long kDumpable =
#if defined(__has_feature) && __has_feature(address_sanitizer)
    1;
#else
    0;
#endif

}  // namespace

Result<std::optional<Identity>> identity_of(const std::string& user) {
  if (::geteuid() != 0) {
    if (!user.empty()) {
      return base::fail(Error::invalid(fmt::format(
          "user = \"{}\": only root can change the user; start as root, or leave the key out", user)));
    }
    return std::nullopt;
  }
  const std::string name = user.empty() ? kDefaultUser : user;
  errno = 0;
  const passwd* entry = ::getpwnam(name.c_str());  // the master has one thread
  if (entry == nullptr) {
    return base::fail(
        Error::invalid(fmt::format("user = \"{}\": there is no such user on this machine", name)));
  }
  return Identity{entry->pw_uid, entry->pw_gid};
}

std::uint64_t raise_descriptor_limit(std::uint64_t wanted) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  // Beyond the hard limit needs CAP_SYS_RESOURCE, which even root may lack in a container.
  for (const rlim_t hard : {std::max<rlim_t>(wanted, limit.rlim_max), limit.rlim_max}) {
    const rlimit raised{.rlim_cur = std::clamp<rlim_t>(wanted, limit.rlim_cur, hard), .rlim_max = hard};
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) return raised.rlim_cur;
  }
  return limit.rlim_cur;
}

Result<void> drop_privileges(const std::optional<Identity>& identity, pid_t parent, Keep keep) {
  if (auto done = empty_bounding_set(); !done) return done;
  if (identity) {
    // Else the change of user would take them all (capabilities(7)).
    if (keep != Keep::kNothing && ::prctl(PR_SET_KEEPCAPS, 1) != 0)
      return base::fail(Error::system("keep capabilities", errno));
    if (auto done = become(*identity); !done) return done;
  }
  if (auto done = reduce_capabilities(keep); !done) return done;
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    return base::fail(Error::system("set no_new_privs", errno));
  if (::prctl(PR_SET_DUMPABLE, kDumpable) != 0) return base::fail(Error::system("forbid core dumps", errno));
  // Last, because a change of user clears it (prctl(2)); the parent may have died meanwhile.
  if (::prctl(PR_SET_PDEATHSIG, SIGTERM) != 0) return base::fail(Error::system("follow the parent", errno));
  if (::getppid() != parent) return base::fail(Error::invalid("the master died"));
  return {};
}

}  // namespace tlsplice::master
