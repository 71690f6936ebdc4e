// Promised: choosing a target costs a worker no system call and no lock. Checked by a kernel that kills the
// reader at the first call that is none of read, write, _exit, while the writer changes the rows all along.
#include <gtest/gtest.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "tlsplice/targets/group.hpp"
#include "tlsplice/targets/health.hpp"

namespace tlsplice::targets {
namespace {

constexpr std::size_t kTargets = 100;
constexpr std::uint64_t kChoices = 200'000;

/// Whether each choice is one of the targets.
bool choose(std::uint64_t choices, const HealthTable& table, std::span<const Share> shares) {
  for (std::uint64_t i = 0; i < choices; ++i) {
    const std::uint64_t hash = i * 0x9e3779b97f4a7c15;
    const Share* const share = choose_group(hash, shares);
    const auto chosen = choose_usable(table.group(share->group_row), kTargets, hash);
    if (!chosen || *chosen >= kTargets) return false;
  }
  return true;
}

/// Ends the process. By exit(2): exit_group(2), which _exit(3) calls, is not allowed either. Not declared to
/// never return: the address sanitizer has a system call of its own in front of such calls (sigaltstack(2)).
void choose_under_seccomp(const HealthTable& table, std::span<const Share> shares) {
  if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) ::syscall(SYS_exit, 2);
  ::syscall(SYS_exit, choose(kChoices, table, shares) ? 0 : 3);
}

TEST(Choosing, CostsNoSystemCallAndNoLock) {
  std::vector<WatchedGroup> watched(2);
  for (WatchedGroup& one : watched) {
    one.listener_port = 443;
    for (std::uint16_t port = 1; port <= kTargets; ++port) one.group.targets.push_back({"192.0.2.1", port});
  }
  const HealthTable table = HealthTable::create(watched).value();
  std::vector<Share> shares(2);
  shares[1].group_row = 1;

  const pid_t reader = ::fork();
  ASSERT_GE(reader, 0);
  if (reader == 0) choose_under_seccomp(table, shares);
  int status = -1;
  for (std::size_t round = 0; ::waitpid(reader, &status, WNOHANG) == 0; ++round) {
    const std::size_t place = round % watched.size();
    const Outcome outcome = round % 3 == 0 ? Outcome{kTimeout} : Outcome{};
    enter_check(table.targets_of(place)[round % kTargets], outcome, {.healthy = 1, .unhealthy = 1}, {});
    enter_group(table.group(place), table.targets_of(place), {});
  }
  EXPECT_TRUE(WIFEXITED(status)) << "killed by signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace tlsplice::targets
