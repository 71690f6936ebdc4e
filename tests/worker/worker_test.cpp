// Promised: a worker relays each connection, refuses beyond its limits, drains on SIGTERM without losing one
// that waits in its queue, and ends at once on SIGQUIT. Checked on a worker in a process of its own, between
// clients and a TCP target that the test plays, and by its counters, its log and its exit status.
#include "tlsplice/worker/worker.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "running.hpp"

namespace tlsplice::worker {
namespace {

using base::Milliseconds;
using tests::RunningWorker;
using tests::Saw;
using C = tlsplice_counters;

std::size_t times(const std::string& text, std::string_view what) {
  std::size_t found = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
  return found;
}

/// Both ends say something and end.
void talk(base::Fd& client, base::Fd& target) {
  ASSERT_TRUE(tests::send_all(client.get(), "question"));
  tests::end_write(client);
  const auto asked = tests::receive(target.get());
  EXPECT_EQ(asked.bytes, "question");
  EXPECT_EQ(asked.end, Saw::kFin);
  ASSERT_TRUE(tests::send_all(target.get(), "the answer"));
  target.reset();
  const auto answered = tests::receive(client.get());
  EXPECT_EQ(answered.bytes, "the answer");
  EXPECT_EQ(answered.end, Saw::kFin);
  client.reset();
}

/// Until the worker has seen what its peers did.
void wait_until(const auto& condition) {
  for (int i = 0; i < 3000 && !condition(); ++i) ::poll(nullptr, 0, 10);
  EXPECT_TRUE(condition());
}

TEST(Worker, RelaysAConnection) {
  RunningWorker worker;
  base::Fd client = worker.dial();
  base::Fd target = worker.next_at_target();
  EXPECT_EQ(worker.count(&C::ActiveFlowCount), 1u);
  talk(client, target);
  wait_until([&] { return worker.count(&C::ActiveFlowCount) == 0; });
  EXPECT_EQ(worker.count(&C::NewFlowCount_TCP), 1u);
  EXPECT_EQ(worker.count(&C::ProcessedBytes), 18u);
  worker.send(SIGTERM);
  EXPECT_EQ(worker.end(), "");
  const std::string said = worker.said();
  EXPECT_NE(said.find(" event=flow "), std::string::npos) << said;
  EXPECT_NE(said.find(" received_bytes=8 sent_bytes=10 "), std::string::npos) << said;
  EXPECT_NE(said.find(" end=closed "), std::string::npos) << said;
}

TEST(Worker, RelaysManyAtOnce) {
  RunningWorker worker;
  std::vector<base::Fd> clients, targets;
  for (int i = 0; i < 200; ++i) {
    clients.push_back(worker.dial());
    targets.push_back(worker.next_at_target());
  }
  EXPECT_EQ(worker.count(&C::ActiveFlowCount), 200u);
  for (std::size_t i = 0; i < clients.size(); ++i) talk(clients[i], targets[i]);
  worker.send(SIGTERM);
  EXPECT_EQ(worker.end(), "");
  EXPECT_EQ(times(worker.said(), " end=closed "), 200u);
  EXPECT_EQ(worker.count(&C::ActiveFlowCount), 0u);
}

TEST(Worker, EndsOnSigtermWhenItHasNothingToDo) {
  RunningWorker worker;
  worker.send(SIGTERM);
  EXPECT_EQ(worker.end(), "");
  EXPECT_EQ(worker.said(), "");
  EXPECT_FALSE(worker.listens());
}

TEST(Worker, ADrainLetsFlowsGoOnAndAcceptsNoMore) {
  RunningWorker worker;
  base::Fd client = worker.dial();
  base::Fd target = worker.next_at_target();
  worker.send(SIGTERM);
  wait_until([&] { return !worker.listens(); });
  talk(client, target);
  EXPECT_EQ(worker.end(), "");
  EXPECT_EQ(times(worker.said(), " end=closed "), 1u);
}

TEST(Worker, ADrainEmptiesTheQueueFirst) {
  RunningWorker worker;
  worker.send(SIGSTOP);
  std::vector<base::Fd> clients;
  for (int i = 0; i < 200; ++i) clients.push_back(worker.dial());  // more than it accepts in one turn
  worker.send(SIGTERM);
  worker.send(SIGCONT);
  std::vector<base::Fd> targets;  // in no particular order
  for (const base::Fd& client : clients) {
    targets.push_back(worker.next_at_target());
    tests::end_write(targets.back());
    tests::end_write(client);
  }
  for (const base::Fd& client : clients) EXPECT_EQ(tests::receive(client.get()).end, Saw::kFin);
  EXPECT_EQ(worker.end(), "");
  EXPECT_EQ(worker.count(&C::NewFlowCount), 200u);
  EXPECT_EQ(times(worker.said(), " end=closed "), 200u);
}

TEST(Worker, ADrainEndsAfterItsTime) {
  RunningWorker worker({.drain_timeout = Milliseconds(200)});
  const base::Fd client = worker.dial();
  const base::Fd target = worker.next_at_target();
  const auto before = base::now();
  worker.send(SIGTERM);
  EXPECT_EQ(tests::receive(client.get()).end, Saw::kReset);
  EXPECT_EQ(tests::receive(target.get()).end, Saw::kReset);
  EXPECT_EQ(worker.end(), "");
  EXPECT_GE(base::now() - before, Milliseconds(190));
  EXPECT_EQ(times(worker.said(), " end=cut "), 1u);
  EXPECT_EQ(worker.count(&C::ActiveFlowCount), 0u);
}

TEST(Worker, EndsAtOnceOnSigquit) {
  RunningWorker worker;
  std::vector<base::Fd> clients, targets;
  for (int i = 0; i < 50; ++i) {
    clients.push_back(worker.dial());
    targets.push_back(worker.next_at_target());
  }
  worker.send(SIGQUIT);
  EXPECT_EQ(worker.end(), "");
  for (const base::Fd& client : clients) EXPECT_EQ(tests::receive(client.get()).end, Saw::kReset);
  for (const base::Fd& target : targets) EXPECT_EQ(tests::receive(target.get()).end, Saw::kReset);
  EXPECT_EQ(times(worker.said(), " end=cut "), 50u);
  EXPECT_EQ(worker.count(&C::ActiveFlowCount), 0u);
}

TEST(Worker, SigquitCutsADrainShort) {
  RunningWorker worker;
  const base::Fd client = worker.dial();
  const base::Fd target = worker.next_at_target();
  worker.send(SIGTERM);
  wait_until([&] { return !worker.listens(); });
  worker.send(SIGTERM);  // a second one changes nothing
  EXPECT_EQ(worker.count(&C::ActiveFlowCount), 1u);
  worker.send(SIGQUIT);
  EXPECT_EQ(worker.end(), "");
  EXPECT_EQ(tests::receive(client.get()).end, Saw::kReset);
}

// A SYN that the program gave to this worker, whose handshake was never completed.
TEST(Worker, WhatWasGivenToItAndNeverCameDoesNotCountForEver) {
  RunningWorker worker;
  const base::Fd client = worker.dial();
  const base::Fd target = worker.next_at_target();
  base::shared_add(worker.load().picked, 7);
  wait_until([&] { return base::shared_get(worker.load().picked_seen) == 7; });
  EXPECT_EQ(base::shared_get(worker.load().active), 1u);
}

TEST(Worker, RefusesBeyondMaxFlows) {
  RunningWorker worker({.max_flows = 2});
  base::Fd clients[] = {worker.dial(), worker.dial()};
  base::Fd targets[] = {worker.next_at_target(), worker.next_at_target()};
  const base::Fd refused = worker.dial();
  EXPECT_EQ(tests::receive(refused.get()).end, Saw::kReset);
  wait_until([&] { return worker.count(&C::RejectedFlowCount_MaxFlows) == 1; });
  for (base::Fd& client : clients) client.reset();
  for (base::Fd& target : targets) target.reset();
  wait_until([&] { return worker.count(&C::ActiveFlowCount) == 0; });
  base::Fd again = worker.dial();
  base::Fd target = worker.next_at_target();
  talk(again, target);
  worker.send(SIGTERM);
  EXPECT_EQ(worker.end(), "");
  EXPECT_EQ(times(worker.said(), " event=refusing "), 1u);
}

TEST(Worker, RefusesWhenItsDescriptorsAreOutAndGoesOn) {
  RunningWorker worker({.descriptors = 40});
  std::vector<base::Fd> clients;
  for (int i = 0; i < 60; ++i) clients.push_back(worker.dial());
  wait_until([&] { return worker.count(&C::RejectedFlowCount_Descriptors) > 0; });
  for (base::Fd& client : clients) tests::reset(client);
  wait_until([&] { return worker.count(&C::ActiveFlowCount) == 0; });
  std::jthread target([&] {  // those that were relayed before are in its queue first
    while (tests::receive(worker.next_at_target().get()).bytes != "found") continue;
  });
  // The dead that still wait to be accepted may take all descriptors once more.
  for (bool served = false; !served;) {
    const base::Fd client = worker.dial();
    tests::send_all(client.get(), "found");
    tests::end_write(client);
    served = tests::receive(client.get()).end == Saw::kFin;
  }
  target.join();
  worker.send(SIGTERM);
  EXPECT_EQ(worker.end(), "");
  // Whether the client's socket or the target's was the one too many.
  const std::string said = worker.said();
  EXPECT_GT(times(said, " reason=descriptors ") + times(said, " end=exhausted "), 0u) << said;
}

}  // namespace
}  // namespace tlsplice::worker
