// What network devices could do for kernel TLS: their tls-hw-* features, as ethtool -k shows them, from
// ethtool netlink (Documentation/networking/ethtool-netlink.rst). No privilege is needed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tlsplice/base/result.hpp"

namespace tlsplice::netlink {

enum class Feature : std::uint8_t {
  kMissing,   // this kernel does not know the feature
  kFixedOff,  // this device cannot
  kOff,       // it can: ethtool -K DEVICE FEATURE on
  kOn,
  kFixedOn,
};
/// "off", "on", "off [fixed]" and "on [fixed]", as ethtool(8) has it; "missing"
const char* to_string(Feature feature);

struct Device {
  std::string name;
  Feature tls_send = Feature::kMissing;     // tls-hw-tx-offload
  Feature tls_receive = Feature::kMissing;  // tls-hw-rx-offload
  Feature tls_record = Feature::kMissing;   // tls-hw-record
};

/// The devices of this network namespace that are up, loopback among them. Fails on a kernel without ethtool
/// netlink (before Linux 5.6, or built without it).
base::Result<std::vector<Device>> devices_up();

}  // namespace tlsplice::netlink
