// Promised: a worker has no user but its own, no capability, no way to gain one, cannot be dumped, and drains
// when its master dies. Checked in a forked child by asking the kernel after the drop. What needs root is
// skipped without it.
#include "../../src/master/privileges.hpp"

#include <fmt/format.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>

#include "../base/child.hpp"

namespace tlsplice::master {
namespace {

bool is_root() {
  return ::geteuid() == 0;
}

#if defined(__has_feature) && __has_feature(address_sanitizer)
constexpr int kDumpable = 1;  // its leak check traces its own process
#else
constexpr int kDumpable = 0;
#endif

std::string capabilities() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capget, &header, sets) != 0) return "capget failed";
  for (const auto& set : sets) {
    if (set.effective != 0 || set.permitted != 0 || set.inheritable != 0) return "capabilities are left";
  }
  return "";
}

std::string bounding_set() {
  for (unsigned long capability = 0;; ++capability) {
    const int held = ::prctl(PR_CAPBSET_READ, capability);
    if (held < 0) return capability > 30 ? "" : "cannot read the bounding set";
    if (held != 0) return fmt::format("capability {} is left in the bounding set", capability);
  }
}

std::string rest() {
  if (::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) return "no_new_privs is not set";
  if (::prctl(PR_GET_DUMPABLE) != kDumpable) return "can be dumped";
  int signal = 0;
  if (::prctl(PR_GET_PDEATHSIG, &signal) != 0 || signal != SIGTERM) return "does not follow its master";
  return "";
}

std::string identity_is(const Identity& wanted) {
  uid_t user[3] = {};
  gid_t group[3] = {};
  if (::getresuid(&user[0], &user[1], &user[2]) != 0 || ::getresgid(&group[0], &group[1], &group[2]) != 0) {
    return "cannot ask";
  }
  for (const uid_t one : user) {
    if (one != wanted.user) return fmt::format("user {}", one);
  }
  for (const gid_t one : group) {
    if (one != wanted.group) return fmt::format("group {}", one);
  }
  if (::getgroups(0, nullptr) != 0) return "supplementary groups are left";
  if (::setresuid(0, 0, 0) == 0) return "could become root again";
  return "";
}

constexpr Identity kNobody{65534, 65534};

std::string drop_to_nobody() {
  const gid_t extra[] = {1, 2, 3};
  if (::setgroups(3, extra) != 0) return "setgroups failed";
  if (const auto dropped = drop_privileges(kNobody, ::getppid()); !dropped) return dropped.error().text();
  return identity_is(kNobody) + capabilities() + bounding_set() + rest();
}

TEST(DropPrivileges, LeavesNothingOfRoot) {
  if (!is_root()) GTEST_SKIP() << "needs root";
  EXPECT_EQ(tests::in_child(drop_to_nobody), "");
}

std::string drop_and_stay() {
  if (const auto dropped = drop_privileges(std::nullopt, ::getppid()); !dropped) {
    return dropped.error().text();
  }
  return capabilities() + rest();
}

TEST(DropPrivileges, WithoutAnIdentityTakesTheCapabilitiesAllTheSame) {
  EXPECT_EQ(tests::in_child(drop_and_stay), "");
}

std::string drop_as_an_ordinary_user() {
  if (::setresgid(65534, 65534, 65534) != 0 || ::setresuid(65534, 65534, 65534) != 0) return "setresuid";
  if (const auto dropped = drop_privileges(std::nullopt, ::getppid()); !dropped) {
    return dropped.error().text();
  }
  return capabilities() + rest();
}

/// With CAP_NET_RAW alone; "" when that is all there is.
std::string drop_all_but_net_raw(const std::optional<Identity>& identity) {
  if (const auto dropped = drop_privileges(identity, ::getppid(), Keep::kNetRaw); !dropped)
    return dropped.error().text();
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capget, &header, sets) != 0) return "capget failed";
  constexpr auto kNetRaw = 1U << CAP_NET_RAW;
  if (sets[0].effective != kNetRaw || sets[0].permitted != kNetRaw || sets[0].inheritable != 0 ||
      sets[1].effective != 0 || sets[1].permitted != 0 || sets[1].inheritable != 0) {
    return fmt::format("capabilities are {:x}", sets[0].permitted);
  }
  const base::Fd socket(::socket(AF_INET, SOCK_STREAM, 0));
  const int on = 1;
  if (::setsockopt(socket.get(), IPPROTO_IP, IP_TRANSPARENT, &on, sizeof on) != 0) return "cannot speak as";
  return rest();
}

TEST(DropPrivileges, KeepsTheOneCapabilityThatWasAskedFor) {
  if (!is_root()) GTEST_SKIP() << "needs root";
  EXPECT_EQ(
      tests::in_child([] { return drop_all_but_net_raw(kNobody) + identity_is(kNobody) + bounding_set(); }),
      "");
  EXPECT_EQ(tests::in_child([] { return drop_all_but_net_raw(std::nullopt); }), "");
}

TEST(DropPrivileges, CannotKeepWhatIsNotThere) {
  if (!is_root()) GTEST_SKIP() << "needs root to become an ordinary user";
  EXPECT_EQ(tests::in_child([]() -> std::string {
              if (::setresuid(65534, 65534, 65534) != 0) return "setresuid";
              return drop_all_but_net_raw(std::nullopt);
            }),
            "keep CAP_NET_RAW, without the other capabilities: Operation not permitted");
}

TEST(DropPrivileges, WorksForAnOrdinaryUser) {
  if (!is_root()) GTEST_SKIP() << "needs root to become one";
  EXPECT_EQ(tests::in_child(drop_as_an_ordinary_user), "");
}

TEST(DropPrivileges, KeepsInheritedDescriptorsUsable) {
  if (!is_root()) GTEST_SKIP() << "needs root";
  EXPECT_EQ(tests::in_child([]() -> std::string {
              const tests::Pipe pipe;
              if (!drop_privileges(kNobody, ::getppid())) return "not dropped";
              if (::write(pipe.write_end.get(), "x", 1) != 1) return "cannot write";
              return ::access("/etc/shadow", R_OK) == 0 ? "reads what only root may" : "";
            }),
            "");
}

TEST(DropPrivileges, NoticesThatTheMasterHasDied) {
  EXPECT_EQ(tests::in_child([]() -> std::string {
              const auto dropped = drop_privileges(std::nullopt, ::getpid());  // not our parent
              return dropped ? "did not notice" : dropped.error().text();
            }),
            "the master died");
}

TEST(IdentityOf, KnowsTheUsersOfTheMachine) {
  if (!is_root()) GTEST_SKIP() << "needs root";
  const auto root = identity_of("root");
  ASSERT_TRUE(root.has_value() && root->has_value());
  EXPECT_EQ((*root)->user, 0u);
  const auto nobody = identity_of("");
  ASSERT_TRUE(nobody.has_value() && nobody->has_value());
  EXPECT_NE((*nobody)->user, 0u);
  EXPECT_EQ(identity_of("nobody")->value().user, (*nobody)->user);
}

TEST(IdentityOf, SaysWhichUserIsUnknown) {
  if (!is_root()) GTEST_SKIP() << "needs root";
  const auto unknown = identity_of("no-such-user-here");
  ASSERT_FALSE(unknown.has_value());
  EXPECT_EQ(unknown.error().fault, base::Fault::kInvalid);
  EXPECT_EQ(unknown.error().text(), "user = \"no-such-user-here\": there is no such user on this machine");
}

std::string as_an_ordinary_user() {
  if (is_root() && ::setresuid(65534, 65534, 65534) != 0) return "setresuid";
  const auto same = identity_of("");
  if (!same || same->has_value()) return "an ordinary user stays what it is";
  const auto other = identity_of("nobody");
  return other ? "an ordinary user cannot become another" : other.error().text();
}

TEST(IdentityOf, OfAnOrdinaryUserIsItsOwn) {
  EXPECT_EQ(tests::in_child(as_an_ordinary_user),
            "user = \"nobody\": only root can change the user; start as root, or leave the key out");
}

rlim_t current_limit() {
  rlimit limit{};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 0;
}

std::string limit_can_be_raised(std::uint64_t wanted, std::uint64_t expected) {
  const rlimit low{.rlim_cur = 100, .rlim_max = 1000};
  if (::setrlimit(RLIMIT_NOFILE, &low) != 0) return "setrlimit";
  const std::uint64_t now = raise_descriptor_limit(wanted);
  if (now != current_limit()) return "says something else than the kernel";
  return now == expected ? "" : fmt::format("{} instead of {}", now, expected);
}

TEST(DescriptorLimit, IsRaisedToWhatIsWanted) {
  EXPECT_EQ(tests::in_child([] { return limit_can_be_raised(500, 500); }), "");
  EXPECT_EQ(tests::in_child([] { return limit_can_be_raised(1000, 1000); }), "");
}

TEST(DescriptorLimit, IsNeverLowered) {
  EXPECT_EQ(tests::in_child([] { return limit_can_be_raised(50, 100); }), "");
  EXPECT_EQ(tests::in_child([] { return limit_can_be_raised(0, 100); }), "");
}

TEST(DescriptorLimit, StopsAtTheHardLimitWithoutTheRightToRaiseIt) {
  EXPECT_EQ(tests::in_child([]() -> std::string {
              if (is_root() && ::setresuid(65534, 65534, 65534) != 0) return "setresuid";
              return limit_can_be_raised(2000, 1000);
            }),
            "");
}

TEST(DescriptorLimit, OfTheImpossibleIsAsFarAsItGoes) {
  EXPECT_EQ(tests::in_child([]() -> std::string {
              const rlim_t before = current_limit();
              const std::uint64_t now = raise_descriptor_limit(std::uint64_t{1} << 40);  // beyond fs.nr_open
              return now == current_limit() && now >= before ? "" : "lowered, or not what it says";
            }),
            "");
}

}  // namespace
}  // namespace tlsplice::master
