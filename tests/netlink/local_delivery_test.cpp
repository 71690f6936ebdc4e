// Promised: exactly what the named targets send from their ports is delivered at home, IPv4 and IPv6; a
// change touches only what changes; living services leave each other alone, what dead ones left goes, and
// what is not ours stays. Checked in a network namespace of a child, by what ip(8) shows and by the kernel's
// answer to `ip route get`; needs root.
#include "tlsplice/netlink/local_delivery.hpp"

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>

#include "../base/child.hpp"

namespace tlsplice::netlink {
namespace {

using net::Address;

Address address(const char* host, std::uint16_t port) {
  return *Address::parse(host, port);
}

const Address kFirst = address("10.2.0.2", 8080);
const Address kSecond = address("10.2.0.2", 8081);
const Address kThird = address("2001:db8::2", 8080);

std::string said_by(const std::string& command) {
  std::FILE* pipe = ::popen((command + " 2>&1").c_str(), "re");
  TLSPLICE_EXPECT(pipe != nullptr, "the tests can run a command");
  std::string text = tests::read_to_end(::fileno(pipe));
  ::pclose(pipe);
  return text;
}

/// Every rule but the three that each namespace has.
std::string rules() {
  return said_by("for v in -4 -6; do ip $v rule; done | grep -v -e 'from all lookup' | tr -d '\\t'");
}

std::string routes(const char* table) {
  return said_by(std::string("for v in -4 -6; do ip -o $v route show table ") + table +
                 " 2>/dev/null; done | cut -d' ' -f1-6");
}

/// A namespace with loopback, and with a device `wire` that leads to 10.2.0.0/24 and 2001:db8::/64.
bool enter_namespace() {
  if (::unshare(CLONE_NEWNET) != 0) return false;
  return said_by(
             "ip link set lo up && ip link add wire type veth peer name far && ip link set far up && "
             "ip link set wire up && ip address add 10.2.0.1/24 dev wire && "
             "ip address add 2001:db8::1/64 dev wire nodad") == "";
}

/// `body` runs in a child, in a namespace of its own, and says what is wrong.
#define IN_NAMESPACE(body)                                          \
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";               \
  const std::string said = tests::in_child([]() -> std::string {    \
    if (!enter_namespace()) return "skip";                          \
    return body();                                                  \
  });                                                               \
  if (said == "skip") GTEST_SKIP() << "no network namespaces here"; \
  EXPECT_EQ(said, "")

std::string differs(const char* what, const std::string& is, const std::string& should_be) {
  if (is == should_be) return "";
  return std::string(what) + " are:\n" + is + "instead of:\n" + should_be;
}

constexpr const char* kHome4 = "local default dev lo proto 143\n";
constexpr const char* kHome6 = "local default dev lo proto 143\n";

std::string comes_and_goes() {
  LocalDelivery delivery;
  if (auto done = delivery.follow({kFirst, kSecond, kThird}); !done) return done.error().text();
  std::string wrong = differs("rules", rules(),
                              "7640:from 10.2.0.2 ipproto tcp sport 8080 lookup 7640 proto 143\n"
                              "7640:from 10.2.0.2 ipproto tcp sport 8081 lookup 7640 proto 143\n"
                              "7640:from 2001:db8::2 ipproto tcp sport 8080 lookup 7640 proto 143\n");
  wrong += differs("routes", routes("7640"), std::string(kHome4) + kHome6);
  if (auto done = delivery.follow({}); !done) return done.error().text();
  return wrong + differs("rules", rules(), "") + differs("routes", routes("7640"), "");
}

TEST(LocalDelivery, IsARuleForEachTargetAndARouteForEachVersion) {
  IN_NAMESPACE(comes_and_goes);
}

std::string kernel_agrees() {
  const auto way = [](const char* version, const char* from, const char* to, const char* port) {
    return said_by(std::string("{ ip ") + version + " route get " + to + " from " + from +
                   " iif wire ipproto tcp sport " + port +
                   " dport 50000; } 2>&1 | head -1 | cut -d' ' -f1,2");
  };
  LocalDelivery delivery;
  if (auto done = delivery.follow({kFirst, kThird}); !done) return done.error().text();
  return differs("ways home", way("-4", "10.2.0.2", "203.0.113.5", "8080"), "local 203.0.113.5\n") +
         differs("ways home", way("-6", "2001:db8::2", "2001:db8:f::5", "8080"), "local 2001:db8:f::5\n") +
         differs("ways of another port", way("-4", "10.2.0.2", "203.0.113.5", "8081"),
                 "RTNETLINK answers:\n") +
         differs("ways of another host", way("-4", "10.2.0.3", "203.0.113.5", "8080"),
                 "RTNETLINK answers:\n");
}

TEST(LocalDelivery, IsWhatTheKernelWillDo) {
  IN_NAMESPACE(kernel_agrees);
}

std::string follows() {
  LocalDelivery delivery;
  if (auto done = delivery.follow({kFirst, kThird}); !done) return done.error().text();
  if (auto done = delivery.follow({kSecond, kFirst, kSecond}); !done) return done.error().text();
  // That of 8080 is still in front: it was not made anew.
  return differs("rules", rules(),
                 "7640:from 10.2.0.2 ipproto tcp sport 8080 lookup 7640 proto 143\n"
                 "7640:from 10.2.0.2 ipproto tcp sport 8081 lookup 7640 proto 143\n") +
         differs("routes", routes("7640"), kHome4);
}

TEST(LocalDelivery, ChangesOnlyWhatChanges) {
  IN_NAMESPACE(follows);
}

/// Somebody who ends without taking anything down.
std::string killed_after(const std::vector<Address>& targets) {
  return tests::in_child([&]() -> std::string {
    LocalDelivery delivery;
    auto done = delivery.follow(targets);
    if (!done) return done.error().text();
    delivery.abandon();
    return "";
  });
}

std::string replaces() {
  std::string wrong = killed_after({kFirst, kThird});
  wrong += differs("rules left", rules(),
                   "7640:from 10.2.0.2 ipproto tcp sport 8080 lookup 7640 proto 143\n"
                   "7640:from 2001:db8::2 ipproto tcp sport 8080 lookup 7640 proto 143\n");
  {
    LocalDelivery delivery;
    if (auto done = delivery.follow({kSecond}); !done) return done.error().text();
    wrong += differs("rules", rules(), "7640:from 10.2.0.2 ipproto tcp sport 8081 lookup 7640 proto 143\n");
    wrong += differs("routes", routes("7640"), kHome4);
  }
  wrong += differs("rules at the end", rules(), "") + differs("routes", routes("7640"), "");
  wrong += killed_after({kFirst});
  LocalDelivery wants_none;
  if (auto done = wants_none.follow({}); !done) return done.error().text();
  return wrong + differs("rules", rules(), "") + differs("routes", routes("7640"), "");
}

TEST(LocalDelivery, ReplacesWhatAKilledServiceLeft) {
  IN_NAMESPACE(replaces);
}

std::string shares() {
  LocalDelivery first;
  if (auto done = first.follow({kFirst}); !done) return done.error().text();
  std::string wrong;
  {
    LocalDelivery second;
    if (auto done = second.follow({kFirst, kThird}); !done) return done.error().text();
    wrong += differs("rules", rules(),
                     "7640:from 10.2.0.2 ipproto tcp sport 8080 lookup 7640 proto 143\n"
                     "7641:from 10.2.0.2 ipproto tcp sport 8080 lookup 7641 proto 143\n"
                     "7641:from 2001:db8::2 ipproto tcp sport 8080 lookup 7641 proto 143\n");
    second.abandon();
  }
  // The second was killed. Nobody takes its table, but the first cleans up behind it at the next change.
  if (auto done = first.follow({kSecond}); !done) return done.error().text();
  return wrong +
         differs("rules", rules(), "7640:from 10.2.0.2 ipproto tcp sport 8081 lookup 7640 proto 143\n") +
         differs("routes", routes("7641"), "");
}

TEST(LocalDelivery, LeavesLivingServicesAlone) {
  IN_NAMESPACE(shares);
}

std::string fills_up() {
  std::vector<LocalDelivery> services(kTables);
  for (LocalDelivery& service : services) {
    if (auto done = service.follow({kFirst}); !done) return done.error().text();
  }
  LocalDelivery one_more;
  const auto refused = one_more.follow({kFirst});
  return differs("words", refused ? "none" : refused.error().text(),
                 "routing tables 7640 to 7647 all have a service of this network namespace (ss -xa | grep "
                 "tlsplice/local-delivery)");
}

TEST(LocalDelivery, HasALimit) {
  IN_NAMESPACE(fills_up);
}

std::string spares() {
  const std::string foreign = "7640:from 10.2.0.9 lookup 7640\n";
  std::string wrong = said_by("ip rule add from 10.2.0.9 lookup 7640 priority 7640");
  LocalDelivery delivery;
  if (auto done = delivery.follow({kFirst}); !done) return done.error().text();
  if (auto done = delivery.follow({}); !done) return done.error().text();
  return wrong + differs("rules", rules(), foreign);
}

TEST(LocalDelivery, SparesWhatIsNotOurs) {
  IN_NAMESPACE(spares);
}

std::string without_the_right() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capset, &header, none) != 0) return "capset";
  LocalDelivery delivery;
  if (auto done = delivery.follow({}); !done) return "nothing wanted: " + done.error().text();
  const auto refused = delivery.follow({kFirst});
  return differs("words", refused ? "none" : refused.error().text(),
                 "add a policy rule for what 10.2.0.2:8080 sends: Operation not permitted");
}

TEST(LocalDelivery, NeedsARight) {
  IN_NAMESPACE(without_the_right);
}

std::string without_loopback() {
  if (const std::string said = said_by("ip link set lo down"); !said.empty()) return said;
  LocalDelivery delivery;
  const auto refused = delivery.follow({kThird});
  return differs("words", refused ? "none" : refused.error().text(),
                 "add a route by the loopback device to table 7640 (as root: ip link set lo up): Network is "
                 "down");
}

TEST(LocalDelivery, NeedsLoopback) {
  IN_NAMESPACE(without_loopback);
}

}  // namespace
}  // namespace tlsplice::netlink
