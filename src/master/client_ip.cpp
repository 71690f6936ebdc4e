#include "tlsplice/master/client_ip.hpp"

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace tlsplice::master {
namespace {

bool holds(int capability) {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capget, &header, sets) != 0) return false;
  return (sets[0].effective & (1U << static_cast<unsigned>(capability))) != 0;
}

int rp_filter_of(const std::filesystem::path& device) {
  int value = 0;
  std::ifstream(device / "rp_filter") >> value;
  return value;
}

}  // namespace

std::vector<net::Address> targets_that_see_clients(const policy::Config& config) {
  std::vector<net::Address> targets;
  for (const policy::Listener& listener : config.listeners) {
    for (const policy::Forward& forward : listener.forward) {
      const policy::TargetGroup& group = *config.target_group(forward.target_group);
      if (!group.preserve_client_ip) continue;
      for (const policy::HostPort& target : group.targets) {
        const auto address = net::Address::parse(target.host, target.port).value();  // of a generation
        if (std::ranges::find(targets, address) == targets.end()) targets.push_back(address);
      }
    }
  }
  return targets;
}

std::string missing_for_client_ip(const policy::Config& config) {
  // Also of a group that has no target yet: a name may be found, or a target registered.
  const auto asks = [&](const policy::Forward& forward) {
    return config.target_group(forward.target_group)->preserve_client_ip;
  };
  if (std::ranges::none_of(config.listeners, [&](const policy::Listener& listener) {
        return std::ranges::any_of(listener.forward, asks);
      }))
    return {};
  const bool rules = holds(CAP_NET_ADMIN);
  const bool sockets = holds(CAP_NET_RAW);
  if (rules && sockets) return {};
  const char* missing = rules     ? "CAP_NET_RAW is missing, with which workers speak as the client"
                        : sockets ? "CAP_NET_ADMIN is missing, for the policy rules that bring answers here"
                                  : "CAP_NET_ADMIN (policy rules) and CAP_NET_RAW (sockets) are missing";
  return std::string(missing) + "; start as root, in a container with --cap-add=NET_ADMIN,NET_RAW";
}

std::vector<std::string> strict_devices() {
  const std::filesystem::path all = "/proc/sys/net/ipv4/conf";
  const int for_all = rp_filter_of(all / "all");
  std::vector<std::string> strict;
  std::error_code error;
  for (const auto& device : std::filesystem::directory_iterator(all, error)) {
    const std::string name = device.path().filename();
    if (name == "all" || name == "default" || name == "lo") continue;
    // The larger of the two counts (ip-sysctl); 2 is the loose way, which is no obstacle.
    if (std::max(for_all, rp_filter_of(device.path())) == 1) strict.push_back(name);
  }
  std::ranges::sort(strict);
  return strict;
}

}  // namespace tlsplice::master
