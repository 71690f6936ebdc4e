// Promised: whom the steering program chooses, case by case, what it counts, and that whatever it cannot
// choose is left to the kernel and refused to nobody. Checked in this kernel, with workers whose rows the
// test writes itself; skipped where the program may not be loaded.
#include "tlsplice/steering/steering.hpp"

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <numeric>

#include "../base/child.hpp"
#include "group.hpp"

namespace tlsplice::steering {
namespace {

using tests::SteeredGroup;
using Counts = std::vector<std::size_t>;

class InTheKernel : public testing::Test {
 protected:
  void SetUp() override {
    if (!tests::can_steer()) GTEST_SKIP() << "the program cannot be loaded here (CAP_BPF, Linux 5.17)";
  }
};
using LeastLoaded = InTheKernel;
using Hash = InTheKernel;
using Cpu = InTheKernel;
using Migration = InTheKernel;

TEST_F(LeastLoaded, FillsUpTheEmptiest) {
  SteeredGroup group(4);
  for (const std::size_t worker : {0u, 2u}) group.load(worker).beat(base::now(), worker == 0 ? 5 : 3);
  group.dial(12);
  EXPECT_EQ(group.accept_everywhere(), (Counts{0, 5, 2, 5}));
  EXPECT_EQ(group.outcomes().least_loaded, 12u);
  EXPECT_EQ(group.row(1).picked, 5u);
}

TEST_F(LeastLoaded, DoesNotHerdWhenNobodyLooks) {
  SteeredGroup group(4);
  group.dial(40);
  EXPECT_EQ(group.accept_everywhere(), (Counts{10, 10, 10, 10}));
}

TEST_F(LeastLoaded, ForgetsWhatTheWorkerHasSeen) {
  SteeredGroup group(2);
  group.dial(10);
  EXPECT_EQ(group.accept_everywhere(), (Counts{5, 5}));
  group.load(0).seen(group.load(0).picked(), 0);  // they all ended
  EXPECT_TRUE(group.load(0).all_seen());
  EXPECT_FALSE(group.load(1).all_seen());
  group.dial(5);
  EXPECT_EQ(group.accept_everywhere(), (Counts{5, 0}));
}

TEST_F(LeastLoaded, EqualsHaveTurns) {
  SteeredGroup group(4);
  Counts sums(4);
  for (int i = 0; i < 200; ++i) {
    group.dial(1);
    const Counts counts = group.accept_everywhere();
    for (std::size_t worker = 0; worker < 4; ++worker) {
      sums[worker] += counts[worker];
      group.load(worker).seen(group.load(worker).picked(), 0);
    }
  }
  for (const std::size_t sum : sums) EXPECT_GT(sum, 20u);
}

TEST_F(LeastLoaded, PassesOverWhoDrainsIsShutOrSilent) {
  SteeredGroup group(4);
  group.load(0).drain();
  group.load(1).close(true);
  group.row(2).heartbeat_ns -= 2 * TLSPLICE_STEER_SILENCE_NS;
  group.dial(20);
  EXPECT_EQ(group.accept_everywhere(), (Counts{0, 0, 0, 20}));
  group.load(1).close(false);
  group.load(2).beat(base::now(), 0);
  group.load(3).end();
  group.dial(20);
  EXPECT_EQ(group.accept_everywhere(), (Counts{0, 10, 10, 0}));
}

TEST_F(LeastLoaded, LeavesItToTheKernelWhenNobodyIsThere) {
  SteeredGroup group(4);
  for (std::size_t i = 0; i < 4; ++i) group.load(i).end();
  group.dial(100);
  const Counts counts = group.accept_everywhere();
  EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), std::size_t{0}), 100u);
  for (const std::size_t count : counts) EXPECT_GT(count, 5u);
  EXPECT_EQ(group.outcomes().kernel_no_worker, 100u);
  EXPECT_EQ(group.outcomes().least_loaded, 0u);
}

TEST_F(LeastLoaded, LeavesItToTheKernelWhenTheSocketHasGone) {
  SteeredGroup group(2);
  group.load(1).beat(base::now(), 1000);
  group.socket(0).reset();
  group.dial(10);
  EXPECT_EQ(group.accept_all(1), 10u);
  EXPECT_EQ(group.outcomes().kernel_no_socket, 10u);
}

TEST_F(LeastLoaded, WorksOverIPv6) {
  SteeredGroup group(4, TLSPLICE_STEER_LEAST_LOADED, "::1");
  group.dial(40);
  EXPECT_EQ(group.accept_everywhere(), (Counts{10, 10, 10, 10}));
}

TEST_F(LeastLoaded, WorksWithTheMostWorkersThatCanBeConfigured) {
  const auto steering = tests::load_steering({.listeners = 2, .workers = 1024});
  EXPECT_TRUE(steering.has_value()) << steering.error().text();
}

TEST_F(Hash, SpreadsWithoutLookingAtTheLoad) {
  SteeredGroup group(4, TLSPLICE_STEER_HASH);
  group.load(0).beat(base::now(), 1000);
  group.dial(200);
  const Counts counts = group.accept_everywhere();
  for (const std::size_t count : counts) EXPECT_GT(count, 15u);
  EXPECT_EQ(group.outcomes().hash, 200u);
}

TEST_F(Hash, PassesOverWhoIsNotThere) {
  SteeredGroup group(3, TLSPLICE_STEER_HASH);
  group.load(1).end();
  group.dial(60);
  const Counts counts = group.accept_everywhere();
  EXPECT_EQ(counts[1], 0u);
  EXPECT_GT(counts[0], 0u);
  EXPECT_GT(counts[2], 0u);
}

TEST_F(Cpu, TheReceivingOneChooses) {
  const CpuPlan plan = plan_cpus(2);
  if (plan.cpu_of_worker[0] == plan.cpu_of_worker[1]) GTEST_SKIP() << "one CPU only";
  EXPECT_EQ(tests::in_child([&]() -> std::string {
              SteeredGroup group(2, TLSPLICE_STEER_CPU);
              for (std::size_t worker = 0; worker < 2; ++worker) {
                if (!stay_on(plan.cpu_of_worker[worker])) return "cannot stay on a CPU";
                group.dial(10);
                if (group.accept_all(worker) != 10) return "another worker got it";
              }
              group.load(1).end();
              group.dial(10);
              if (group.accept_all(0) != 10) return "nobody else got what a silent worker's CPU received";
              return group.outcomes().cpu == 20 && group.outcomes().least_loaded == 10 ? "" : "counts";
            }),
            "");
}

TEST_F(Cpu, ThePlanCanChange) {
  CpuPlan plan = plan_cpus(2);
  EXPECT_EQ(tests::in_child([&]() -> std::string {
              SteeredGroup group(2, TLSPLICE_STEER_CPU);
              const unsigned here = plan.cpu_of_worker[0];
              if (!stay_on(here)) return "cannot stay on a CPU";
              for (const std::uint32_t worker : {1u, 0u, 1u}) {
                plan.worker_of_cpu[here] = worker;
                if (!group.steering().follow(plan)) return "the plan is not taken";
                group.dial(10);
                if (group.accept_all(worker) != 10) return "another worker got it";
              }
              return "";
            }),
            "");
}

TEST_F(Migration, TakesTheQueueOfAClosedSocketToTheLeastLoaded) {
  SteeredGroup group(3);
  group.dial(30);
  group.load(1).beat(base::now(), 100);
  group.load(0).drain();
  group.socket(0).reset();
  EXPECT_EQ(group.accept_all(1), 10u);
  EXPECT_EQ(group.accept_all(2), 20u);
  EXPECT_EQ(group.outcomes().migrated, 10u);
  EXPECT_EQ(group.row(2).migrated, 10u);
  EXPECT_EQ(group.outcomes().migrated_unsteered, 0u);
}

TEST_F(Migration, AShutSocketListensAgainAndIsOfferedAgain) {
  SteeredGroup group(2);
  group.dial(20);
  const base::Fd copy(::dup(group.socket(1).get()));  // as a stopped worker has it
  group.load(1).close(true);
  net::stop_listening(group.socket(1).get());
  EXPECT_EQ(group.accept_all(0), 20u);
  EXPECT_EQ(net::accept(copy.get()).error(), EINVAL);
  group.dial(5);
  EXPECT_EQ(group.accept_all(0), 5u);
  ASSERT_TRUE(net::listen_again(group.socket(1).get()));
  ASSERT_TRUE(group.steering().offer(0, 1, group.socket(1).get()));
  group.load(1).close(false);
  group.load(1).seen(group.load(1).picked(), 0);
  group.dial(8);
  std::size_t taken = 0;
  while (net::accept(copy.get())) ++taken;  // the copy is the same socket
  EXPECT_EQ(taken, 8u);
  EXPECT_EQ(group.outcomes().kernel_no_socket, 0u);
}

TEST_F(Migration, IsCountedWhenItIsLeftToTheKernel) {
  SteeredGroup group(2);
  group.dial(20);
  for (std::size_t i = 0; i < 2; ++i) group.load(i).end();
  group.socket(0).reset();
  EXPECT_EQ(group.accept_all(1), 20u);
  EXPECT_EQ(group.outcomes().migrated, 0u);
  EXPECT_EQ(group.outcomes().migrated_unsteered, 10u);
}

TEST(Steering, WithoutThePrivilegeSaysWhatToDo) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to give it up";
  EXPECT_EQ(tests::in_child([]() -> std::string {
              if (::setresuid(65534, 65534, 65534) != 0) return "setresuid";
              const auto steering = tests::load_steering({.listeners = 1, .workers = 1});
              if (steering) return "loaded without the privilege";
              return steering.error().text().find("CAP_BPF") == std::string::npos ? steering.error().text()
                                                                                  : "";
            }),
            "");
}

TEST(PlanCpus, GivesEachWorkerACpuAndEachCpuAWorker) {
  for (const std::size_t workers : {1u, 2u, 7u}) {
    const CpuPlan plan = plan_cpus(workers);
    ASSERT_EQ(plan.cpu_of_worker.size(), workers);
    for (const unsigned cpu : plan.cpu_of_worker) {
      ASSERT_LT(cpu, plan.worker_of_cpu.size());
      EXPECT_LT(plan.worker_of_cpu[cpu], workers);
    }
  }
}

}  // namespace
}  // namespace tlsplice::steering
