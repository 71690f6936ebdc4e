// The rules themselves are the only book that is kept: each call reads them anew, so whoever removes some by
// hand loses them until the next call, and nothing else. Which table belongs to a living service is told by a
// lock that the kernel lets go of with its owner: an abstract Unix address, which is of one network namespace
// as the rules are (unix(7), network_namespaces(7)).
#include "tlsplice/netlink/local_delivery.hpp"

#include <fmt/format.h>
#include <linux/fib_rules.h>
#include <net/if.h>
#include <netlink/errno.h>
#include <netlink/route/route.h>
#include <netlink/route/rule.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <span>

#include "connection.hpp"

namespace tlsplice::netlink {
namespace {

using base::Error;
using base::Result;
using net::Address;
using IpAddress = std::unique_ptr<nl_addr, FreedBy<nl_addr_put>>;
using RulePointer = std::unique_ptr<rtnl_rule, FreedBy<rtnl_rule_put>>;
using RoutePointer = std::unique_ptr<rtnl_route, FreedBy<rtnl_route_put>>;

constexpr int kFamilies[] = {AF_INET, AF_INET6};

bool has_family(std::span<const Address> addresses, int family) {
  return std::ranges::find(addresses, family, &Address::family) != addresses.end();
}

std::unexpected<Error> no_memory(const char* doing) {
  return base::fail(Error::system(doing, ENOMEM));
}

/// A rule that a tlsplice made, as the kernel has it.
struct Rule {
  RulePointer object;
  std::uint32_t table;
  std::optional<Address> target;  // nullopt: not of the shape that we make
};

std::optional<Address> target_of(rtnl_rule* rule) {
  const nl_addr* source = rtnl_rule_get_src(rule);
  std::uint16_t first = 0;
  std::uint16_t last = 0;
  if (source == nullptr || rtnl_rule_get_sport(rule, &first, &last) < 0) return std::nullopt;
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (nl_addr_fill_sockaddr(source, reinterpret_cast<sockaddr*>(&address), &size) < 0) return std::nullopt;
  return Address::from(reinterpret_cast<sockaddr*>(&address), size).with_port(first);
}

/// The rules of every tlsplice in this network namespace.
Result<std::vector<Rule>> rules_there(Connection& connection) {
  constexpr const char* kDoing = "list policy rules";
  nl_cache* listed = nullptr;
  std::vector<Rule> rules;
  if (const int error = rtnl_rule_alloc_cache(connection.get(), AF_UNSPEC, &listed); error < 0) {
    if (error == -NLE_OPNOTSUPP) return rules;  // no policy routing, no rules: add_rule says so if it matters
    return base::fail(library_error(kDoing, error));
  }
  const std::unique_ptr<nl_cache, FreedBy<nl_cache_free>> cache(listed);
  for (nl_object* each = nl_cache_get_first(listed); each != nullptr; each = nl_cache_get_next(each)) {
    auto* rule = reinterpret_cast<rtnl_rule*>(each);
    std::uint8_t protocol = 0;
    const std::uint32_t table = rtnl_rule_get_table(rule);
    if (rtnl_rule_get_protocol(rule, &protocol) < 0 || protocol != kRouteProtocol) continue;
    if (table < kFirstTable || table >= kFirstTable + kTables) continue;
    nl_object_get(each);
    rules.push_back({RulePointer(rule), table, target_of(rule)});
  }
  return rules;
}

/// Sends what libnl has built, and waits for the kernel's yes or no; the errnos in `fine` count as a yes.
Result<void> send(Connection& connection, const std::string& doing, int built, nl_msg* request,
                  std::initializer_list<int> fine) {
  if (built < 0) return base::fail(library_error(doing.c_str(), built));
  const Message message(request);
  nlmsg_hdr(request)->nlmsg_flags |= NLM_F_ACK;
  auto asked = connection.ask(doing.c_str(), request, [](nlmsghdr*) {});
  if (!asked && std::ranges::find(fine, asked.error().errnum) != fine.end()) return {};
  return asked;
}

Result<void> add_rule(Connection& connection, std::uint32_t table, const Address& target) {
  constexpr const char* kDoing = "make a policy rule";
  const std::string_view ip = target.ip_bytes();
  const IpAddress source(nl_addr_build(target.family(), ip.data(), ip.size()));
  const RulePointer rule(rtnl_rule_alloc());
  if (!source || !rule) return no_memory(kDoing);
  rtnl_rule_set_family(rule.get(), target.family());
  rtnl_rule_set_prio(rule.get(), table);
  rtnl_rule_set_table(rule.get(), table);
  rtnl_rule_set_action(rule.get(), FR_ACT_TO_TBL);
  rtnl_rule_set_protocol(rule.get(), kRouteProtocol);
  rtnl_rule_set_src(rule.get(), source.get());
  rtnl_rule_set_ipproto(rule.get(), IPPROTO_TCP);
  rtnl_rule_set_sport(rule.get(), target.port());
  nl_msg* request = nullptr;
  const int built = rtnl_rule_build_add_request(rule.get(), NLM_F_EXCL, &request);
  auto added = send(connection, fmt::format("add a policy rule for what {} sends", target.text()), built,
                    request, {EEXIST});
  if (!added && (added.error().errnum == EAFNOSUPPORT || added.error().errnum == EOPNOTSUPP)) {
    added.error().detail += " (this kernel has no policy routing: CONFIG_IP_MULTIPLE_TABLES and its like)";
  }
  return added;
}

Result<void> delete_rule(Connection& connection, const Rule& rule) {
  nl_msg* request = nullptr;
  const int built = rtnl_rule_build_delete_request(rule.object.get(), 0, &request);
  return send(connection, fmt::format("delete a policy rule of table {}", rule.table), built, request,
              {ENOENT});
}

/// Everything is at home: the one route of such a table.
RoutePointer home(std::uint32_t table, int family) {
  RoutePointer route(rtnl_route_alloc());
  const in6_addr any{};
  const IpAddress everything(nl_addr_build(family, &any, family == AF_INET ? sizeof(in_addr) : sizeof any));
  rtnl_nexthop* hop = rtnl_route_nh_alloc();
  if (!route || !everything || hop == nullptr) return {};
  nl_addr_set_prefixlen(everything.get(), 0);
  rtnl_route_set_family(route.get(), static_cast<std::uint8_t>(family));
  rtnl_route_set_table(route.get(), table);
  rtnl_route_set_type(route.get(), RTN_LOCAL);
  rtnl_route_set_scope(route.get(), RT_SCOPE_HOST);
  rtnl_route_set_protocol(route.get(), kRouteProtocol);
  rtnl_route_set_dst(route.get(), everything.get());
  rtnl_route_nh_set_ifindex(hop, static_cast<int>(::if_nametoindex("lo")));
  rtnl_route_add_nexthop(route.get(), hop);
  return route;
}

Result<void> add_route(Connection& connection, std::uint32_t table, int family) {
  const std::string doing = fmt::format("add a route by the loopback device to table {}", table);
  const RoutePointer route = home(table, family);
  if (!route) return no_memory(doing.c_str());
  nl_msg* request = nullptr;
  const int built = rtnl_route_build_add_request(route.get(), 0, &request);
  auto added = send(connection, doing, built, request, {EEXIST});
  if (!added && added.error().errnum == ENETDOWN) added.error().detail += " (as root: ip link set lo up)";
  return added;
}

Result<void> delete_route(Connection& connection, std::uint32_t table, int family) {
  const std::string doing = fmt::format("delete the route of table {}", table);
  const RoutePointer route = home(table, family);
  if (!route) return no_memory(doing.c_str());
  nl_msg* request = nullptr;
  const int built = rtnl_route_build_del_request(route.get(), 0, &request);
  // The other two: a kernel without that IP version.
  return send(connection, doing, built, request, {ESRCH, EOPNOTSUPP, EAFNOSUPPORT});
}

/// Empty when somebody has the table.
Result<base::Fd> lock(std::uint32_t table) {
  base::Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return base::fail(Error::system("open a socket", errno));
  const std::string name = fmt::format("tlsplice/local-delivery/{}", table);
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), size) == 0) return socket;
  if (errno == EADDRINUSE) return base::Fd();
  return base::fail(Error::system(fmt::format("bind @{}", name), errno));
}

/// Takes down what is in a table and not wanted.
Result<void> reduce(Connection& connection, std::uint32_t table, std::span<const Rule> there,
                    std::span<const Address> wanted) {
  for (const Rule& rule : there) {
    const bool stays = rule.target && std::ranges::find(wanted, *rule.target) != wanted.end();
    if (rule.table != table || stays) continue;
    if (auto deleted = delete_rule(connection, rule); !deleted) return deleted;
  }
  for (const int family : kFamilies) {
    if (has_family(wanted, family)) continue;
    if (auto deleted = delete_route(connection, table, family); !deleted) return deleted;
  }
  return {};
}

}  // namespace

LocalDelivery::~LocalDelivery() {
  if (!lock_) return;
  [[maybe_unused]] const auto done = follow({});  // who wants to know why not calls it before
}

Result<void> LocalDelivery::take_table() {
  for (std::uint32_t table = kFirstTable; table < kFirstTable + kTables; ++table) {
    auto locked = lock(table);
    if (!locked) return base::fail(std::move(locked.error()));
    if (!*locked) continue;
    lock_ = std::move(*locked);
    table_ = table;
    return {};
  }
  return base::fail(Error::invalid(
      fmt::format("routing tables {} to {} all have a service of this network namespace (ss -xa | grep "
                  "tlsplice/local-delivery)",
                  kFirstTable, kFirstTable + kTables - 1)));
}

Result<void> LocalDelivery::follow(const std::vector<Address>& targets) {
  auto connection = Connection::open(NETLINK_ROUTE);
  if (!connection) return base::fail(std::move(connection.error()));
  const auto there = rules_there(*connection);
  if (!there) return base::fail(there.error());
  if (!lock_) {
    if (targets.empty() && there->empty()) return {};
    if (auto taken = take_table(); !taken) return taken;
  }
  // The rules first: a kernel without policy routing refuses them, and has no table for the route but its
  // main one.
  for (const Address& target : targets) {
    const auto is_there = [&](const Rule& rule) { return rule.table == table_ && rule.target == target; };
    if (std::ranges::any_of(*there, is_there)) continue;
    if (auto added = add_rule(*connection, table_, target); !added) return added;
  }
  for (const int family : kFamilies) {
    if (!has_family(targets, family)) continue;
    if (auto added = add_route(*connection, table_, family); !added) return added;
  }
  if (auto reduced = reduce(*connection, table_, *there, targets); !reduced) return reduced;
  for (std::uint32_t table = kFirstTable; table < kFirstTable + kTables; ++table) {
    if (table == table_ || std::ranges::find(*there, table, &Rule::table) == there->end()) continue;
    const auto dead = lock(table);
    if (!dead || !*dead) continue;
    if (auto reduced = reduce(*connection, table, *there, {}); !reduced) return reduced;
  }
  return {};
}

}  // namespace tlsplice::netlink
