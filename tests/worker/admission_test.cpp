// Promised: beyond max_flows, without a descriptor and without memory a connection is reset, counted under
// its reason, and said once a second; there is room again as soon as there is. Checked with real connections,
// a limit on descriptors, and times of the test's own choosing.
#include "../../src/worker/admission.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <string>
#include <thread>

#include "../base/child.hpp"
#include "../relay/flow.hpp"

namespace tlsplice::worker {
namespace {

using C = tlsplice_counters;
using tests::Connection;

const base::Instant kStart = base::Instant() + std::chrono::hours(1);

struct AdmissionTest : testing::Test {
  observe::CounterTable table =
      std::move(*observe::CounterTable::create({.workers = 2, .listeners = {{"web", "TLS"}}}));
  observe::Counters own = table.worker(0);
  observe::Counters others = table.worker(1);
  tests::Pipe pipe;
  base::Log log{pipe.write_end.get(), base::LogLevel::kInfo, base::LogFormat::kLogfmt};
  Admission admission{table, own, log, 10};

  std::string said() {
    pipe.write_end.reset();
    return tests::read_to_end(pipe.read_end.get());
  }
};

std::size_t lines_in(const std::string& text) {
  return static_cast<std::size_t>(std::ranges::count(text, '\n'));
}

bool was_reset(const base::Fd& peer) {
  return tests::receive(peer.get()).end == tests::Saw::kReset;
}

TEST_F(AdmissionTest, LetsInUpToMaxFlows) {
  Connection connection = tests::connection();
  for (__u64 active = 0; active < 10; ++active) {
    own.set(&C::ActiveFlowCount, active);
    EXPECT_TRUE(admission.admit(connection.ours, 0, kStart));
  }
  EXPECT_TRUE(connection.ours);
  EXPECT_EQ(own.get(&C::RejectedFlowCount_MaxFlows), 0u);
  EXPECT_EQ(said(), "");
}

TEST_F(AdmissionTest, ResetsAndCountsBeyondMaxFlows) {
  own.set(&C::ActiveFlowCount, 4);
  others.set(&C::ActiveFlowCount, 6);  // the limit is over all workers
  Connection connection = tests::connection();
  EXPECT_FALSE(admission.admit(connection.ours, 0, kStart));
  EXPECT_FALSE(connection.ours);
  EXPECT_TRUE(was_reset(connection.peer));
  EXPECT_EQ(own.get(&C::RejectedFlowCount_MaxFlows), 1u);
  EXPECT_EQ(others.get(&C::RejectedFlowCount_MaxFlows), 0u);
  const std::string text = said();
  EXPECT_NE(text.find(" level=warning event=refusing "), std::string::npos) << text;
  EXPECT_NE(text.find(" reason=max_flows not_said=0 remedy="), std::string::npos) << text;
}

TEST_F(AdmissionTest, LetsInAgainWhenThereIsRoom) {
  own.set(&C::ActiveFlowCount, 10);
  Connection refused = tests::connection();
  EXPECT_FALSE(admission.admit(refused.ours, 0, kStart));
  own.set(&C::ActiveFlowCount, 9);
  Connection taken = tests::connection();
  EXPECT_TRUE(admission.admit(taken.ours, 0, kStart));
  EXPECT_TRUE(taken.ours);
}

TEST_F(AdmissionTest, WhoSeesARefusalFindsItCounted) {
  own.set(&C::ActiveFlowCount, 10);
  for (__u64 refused = 1; refused <= 200; ++refused) {
    Connection connection = tests::connection();
    __u64 counted = 0;
    std::atomic<bool> looks = false;
    std::jthread peer([&] {
      char byte = 0;
      looks = true;
      while (::recv(connection.peer.get(), &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN) continue;
      counted = std::min(table.sum(&C::RejectedFlowCount_MaxFlows),
                         table.sum(0, &tlsplice_listener::RejectedFlowCount));
    });
    while (!looks) std::this_thread::yield();
    EXPECT_FALSE(admission.admit(connection.ours, 0, kStart));
    peer.join();
    ASSERT_EQ(counted, refused);
  }
}

TEST_F(AdmissionTest, SaysItOnceASecond) {
  for (int i = 0; i < 100; ++i) admission.count(Refusal::kMaxFlows, 0, kStart + base::Milliseconds(i));
  admission.count(Refusal::kMaxFlows, 0, kStart + base::Milliseconds(1000));
  EXPECT_EQ(own.get(&C::RejectedFlowCount_MaxFlows), 101u);
  const std::string text = said();
  EXPECT_EQ(lines_in(text), 2u);
  EXPECT_NE(text.find(" not_said=99 "), std::string::npos) << text;
}

TEST_F(AdmissionTest, SaysEachReasonOnItsOwn) {
  for (const Refusal reason :
       {Refusal::kMaxFlows, Refusal::kDescriptors, Refusal::kMemory, Refusal::kPorts}) {
    admission.count(reason, 0, kStart);
    admission.count(reason, 0, kStart);
  }
  EXPECT_EQ(own.get(&C::RejectedFlowCount_MaxFlows), 2u);
  EXPECT_EQ(own.get(&C::RejectedFlowCount_Descriptors), 2u);
  EXPECT_EQ(own.get(&C::RejectedFlowCount_Memory), 2u);
  EXPECT_EQ(own.get(&C::PortAllocationErrorCount), 2u);
  const std::string text = said();
  EXPECT_EQ(lines_in(text), 4u);
  for (const char* reason : {"max_flows", "descriptors", "memory", "ports"}) {
    EXPECT_NE(text.find(std::string(" reason=") + reason + " "), std::string::npos) << text;
  }
}

TEST_F(AdmissionTest, RefusesWithTheSpareDescriptorWhenThereIsNone) {
  const auto listener = net::listen(*net::Address::parse("127.0.0.1", 0));
  ASSERT_TRUE(listener.has_value());
  const net::Address address = net::local_address(listener->get());
  const base::Fd first = tests::dial(address);
  const base::Fd second = tests::dial(address);
  {
    const tests::NoDescriptors none;
    EXPECT_EQ(net::accept(listener->get()).error(), EMFILE);
    EXPECT_TRUE(admission.refuse_next(listener->get(), 0, kStart));
    EXPECT_TRUE(admission.refuse_next(listener->get(), 0, kStart));  // the spare one is there again
  }
  EXPECT_TRUE(was_reset(first));
  EXPECT_TRUE(was_reset(second));
  EXPECT_EQ(own.get(&C::RejectedFlowCount_Descriptors), 2u);
  EXPECT_EQ(table.sum(0, &tlsplice_listener::RejectedFlowCount), 2u);
  EXPECT_EQ(net::accept(listener->get()).error(), EAGAIN);  // the queue is empty
  EXPECT_EQ(lines_in(said()), 1u);
}

TEST_F(AdmissionTest, HasNobodyToRefuseInAnEmptyQueue) {
  const auto listener = net::listen(*net::Address::parse("127.0.0.1", 0));
  ASSERT_TRUE(listener.has_value());
  EXPECT_FALSE(admission.refuse_next(listener->get(), 0, kStart));
}

}  // namespace
}  // namespace tlsplice::worker
