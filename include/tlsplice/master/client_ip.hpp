// Target groups with preserve_client_ip: what they take from the machine and the process, told before
// anything starts.
#pragma once

#include <string>
#include <vector>

#include "tlsplice/net/address.hpp"
#include "tlsplice/policy/config.hpp"

namespace tlsplice::master {

/// The targets of those groups that a listener forwards to, each once.
std::vector<net::Address> targets_that_see_clients(const policy::Config& config);

/// What this process lacks to serve them: "CAP_NET_ADMIN and CAP_NET_RAW are missing, ..."; empty when
/// nothing is, or there are none.
std::string missing_for_client_ip(const policy::Config& config);

/// The network devices of this network namespace on which the kernel drops an IPv4 packet whose sender is
/// reached by another device (rp_filter = 1, ip-sysctl): what a target answers must come by one that leads to
/// it. Loopback is not among them.
std::vector<std::string> strict_devices();

}  // namespace tlsplice::master
