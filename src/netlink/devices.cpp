#include "tlsplice/netlink/devices.hpp"

#include <linux/ethtool_netlink.h>
#include <net/if.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/route/link.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "connection.hpp"

namespace tlsplice::netlink {
namespace {

using base::Error;
using base::Result;

struct Link {
  int index;
  std::string name;
};

Result<std::vector<Link>> links_up() {
  constexpr const char* kDoing = "list network devices";
  auto connection = Connection::open(NETLINK_ROUTE);
  if (!connection) return base::fail(connection.error());
  nl_cache* listed = nullptr;
  if (const int error = rtnl_link_alloc_cache(connection->get(), AF_UNSPEC, &listed); error < 0) {
    return base::fail(library_error(kDoing, error));
  }
  const std::unique_ptr<nl_cache, FreedBy<nl_cache_free>> cache(listed);
  std::vector<Link> links;
  for (nl_object* each = nl_cache_get_first(listed); each != nullptr; each = nl_cache_get_next(each)) {
    auto* link = reinterpret_cast<rtnl_link*>(each);
    if ((rtnl_link_get_flags(link) & IFF_UP) == 0) continue;
    links.push_back({rtnl_link_get_ifindex(link), rtnl_link_get_name(link)});
  }
  return links;
}

/// One feature in the four bitsets of an answer.
struct Bits {
  bool known = false;       // the name is in the kernel's list
  bool changeable = false;  // the device has it
  bool active = false;
  bool fixed = false;  // cannot be changed, whatever the device has

  Feature feature() const {
    if (!known) return Feature::kMissing;
    if (!changeable || fixed) return active ? Feature::kFixedOn : Feature::kFixedOff;
    return active ? Feature::kOn : Feature::kOff;
  }
};

/// The order of Device's members.
constexpr std::array<const char*, 3> kNames{"tls-hw-tx-offload", "tls-hw-rx-offload", "tls-hw-record"};
using AllBits = std::array<Bits, kNames.size()>;

/// A bitset by names: in one with a mask each bit of the mask, with or without a value; in one without, the
/// bits that are set.
template <typename Take>
void each_bit(nlattr* bitset, Take take) {
  if (bitset == nullptr) return;
  nlattr* bits = nla_find(static_cast<nlattr*>(nla_data(bitset)), nla_len(bitset), ETHTOOL_A_BITSET_BITS);
  if (bits == nullptr) return;
  const bool masked =
      nla_find(static_cast<nlattr*>(nla_data(bitset)), nla_len(bitset), ETHTOOL_A_BITSET_NOMASK) == nullptr;
  nlattr* each = nullptr;
  int left = 0;
  nla_for_each_nested(each, bits, left) {  // NOLINT: libnl's macro has C's casts
    nlattr* told[ETHTOOL_A_BITSET_BIT_MAX + 1] = {};
    if (nla_parse_nested(told, ETHTOOL_A_BITSET_BIT_MAX, each, nullptr) < 0) continue;
    if (told[ETHTOOL_A_BITSET_BIT_NAME] == nullptr) continue;
    const char* name = nla_get_string(told[ETHTOOL_A_BITSET_BIT_NAME]);
    for (std::size_t i = 0; i < kNames.size(); ++i) {
      if (std::strcmp(name, kNames[i]) == 0) take(i, !masked || told[ETHTOOL_A_BITSET_BIT_VALUE] != nullptr);
    }
  }
}

AllBits bits_of(nlmsghdr* header) {
  nlattr* told[ETHTOOL_A_FEATURES_MAX + 1] = {};
  AllBits bits{};
  if (genlmsg_parse(header, 0, told, ETHTOOL_A_FEATURES_MAX, nullptr) < 0) return bits;
  each_bit(told[ETHTOOL_A_FEATURES_HW], [&bits](std::size_t i, bool set) {
    bits[i].known = true;
    bits[i].changeable = set;
  });
  each_bit(told[ETHTOOL_A_FEATURES_ACTIVE], [&bits](std::size_t i, bool set) { bits[i].active = set; });
  each_bit(told[ETHTOOL_A_FEATURES_NOCHANGE], [&bits](std::size_t i, bool set) { bits[i].fixed = set; });
  return bits;
}

/// A request for each device, not a dump: the answer to one has the room that it needs, a part of a dump may
/// be too small for all the names of one device.
Result<AllBits> features_of(Connection& connection, int family, const Link& link) {
  const Message request(nlmsg_alloc());
  if (!request || genlmsg_put(request.get(), NL_AUTO_PORT, NL_AUTO_SEQ, family, 0, 0,
                              ETHTOOL_MSG_FEATURES_GET, ETHTOOL_GENL_VERSION) == nullptr) {
    return base::fail(Error::system("ask for features", ENOMEM));
  }
  nlattr* header = nla_nest_start(request.get(), ETHTOOL_A_FEATURES_HEADER);
  nla_put_u32(request.get(), ETHTOOL_A_HEADER_DEV_INDEX, static_cast<std::uint32_t>(link.index));
  nla_nest_end(request.get(), header);
  AllBits bits{};
  auto asked = connection.ask("ask for the features of a network device", request.get(),
                              [&bits](nlmsghdr* answer) { bits = bits_of(answer); });
  if (!asked) return base::fail(asked.error());
  return bits;
}

}  // namespace

Result<std::vector<Device>> devices_up() {
  auto links = links_up();
  if (!links) return base::fail(links.error());
  auto connection = Connection::open(NETLINK_GENERIC);
  if (!connection) return base::fail(connection.error());
  const int family = genl_ctrl_resolve(connection->get(), ETHTOOL_GENL_NAME);
  if (family < 0) {
    return base::fail(
        Error{base::Fault::kSystem, 0,
              "this kernel has no ethtool netlink (Linux 5.6 and later, CONFIG_ETHTOOL_NETLINK); "
              "ethtool -k DEVICE may still tell"});
  }
  std::vector<Device> devices;
  for (Link& link : *links) {
    auto bits = features_of(*connection, family, link);
    if (!bits && bits.error().errnum == ENODEV) continue;  // gone meanwhile
    if (!bits) return base::fail(bits.error());
    devices.push_back(
        {std::move(link.name), (*bits)[0].feature(), (*bits)[1].feature(), (*bits)[2].feature()});
  }
  return devices;
}

const char* to_string(Feature feature) {
  switch (feature) {
    case Feature::kMissing:
      return "missing";
    case Feature::kFixedOff:
      return "off [fixed]";
    case Feature::kOff:
      return "off";
    case Feature::kOn:
      return "on";
    case Feature::kFixedOn:
      return "on [fixed]";
  }
  return "missing";
}

}  // namespace tlsplice::netlink
