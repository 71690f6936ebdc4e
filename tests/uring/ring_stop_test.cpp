// Promised: a requested Stop ends what waits under it and under its children, now and later, and nothing
// above or beside it. Checked with trees of Stops, and with sleeps and polls under them.
#include <gtest/gtest.h>

#include <cerrno>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "../base/child.hpp"
#include "../tls/loopback.hpp"
#include "tlsplice/uring/ops.hpp"
#include "tlsplice/uring/ring.hpp"

namespace tlsplice::uring {
namespace {

using base::Milliseconds;
using tests::World;
using Answer = std::optional<int>;

TEST(Stop, IsRequestedOnce) {
  Stop stop;
  EXPECT_FALSE(stop.requested());
  stop.request();
  stop.request();
  EXPECT_TRUE(stop.requested());
}

TEST(Stop, GoesDownTheTree) {
  Stop parent;
  Stop child(parent), sibling(parent);
  Stop grandchild(child);
  child.request();
  EXPECT_TRUE(child.requested());
  EXPECT_TRUE(grandchild.requested());
  EXPECT_FALSE(sibling.requested());
  EXPECT_FALSE(parent.requested());
  parent.request();
  EXPECT_TRUE(sibling.requested());
}

TEST(Stop, AChildIsBornWithItsParentsRequest) {
  Stop parent;
  parent.request();
  Stop child(parent);
  EXPECT_TRUE(child.requested());
  const Stop grandchild(child);
  EXPECT_TRUE(grandchild.requested());
}

TEST(Stop, ChildrenComeAndGo) {
  Stop parent;
  for (int i = 0; i < 3; ++i) {
    Stop child(parent);
    Stop other(parent);
    EXPECT_FALSE(child.requested());
    if (i == 1) other.request();
  }
  EXPECT_FALSE(parent.requested());
  Stop last(parent);
  parent.request();
  EXPECT_TRUE(last.requested());
}

TEST(Stop, GoesDownADeepTree) {
  Stop root;
  std::vector<std::unique_ptr<Stop>> line;
  for (int i = 0; i < 1000; ++i) line.push_back(std::make_unique<Stop>(i == 0 ? root : *line.back()));
  root.request();
  EXPECT_TRUE(line.back()->requested());
  while (!line.empty()) line.pop_back();
}

Task<void> sleep_long(Ring& ring, Stop& stop, Answer& answer) {
  answer = co_await Sleep(ring, stop, std::chrono::hours(1));
}

Task<void> wait_readable(Ring& ring, Stop& stop, int fd, Answer& answer) {
  answer = co_await readable(ring, stop, fd);
}

struct StopTest : testing::Test {
  World world;
  Ring& ring = world.ring();
  tests::Pipe pipe;
  Stop parent;
  Stop child{parent};
  Gate gate{ring};
  std::vector<Answer> answers = std::vector<Answer>(4);

  /// A sleep and a poll under each.
  void begin() {
    spawn(gate, sleep_long(ring, parent, answers[0]));
    spawn(gate, wait_readable(ring, parent, pipe.read_end.get(), answers[1]));
    spawn(gate, sleep_long(ring, child, answers[2]));
    spawn(gate, wait_readable(ring, child, pipe.read_end.get(), answers[3]));
    world.run_for(Milliseconds(5));
  }
};

TEST_F(StopTest, OfTheParentEndsAll) {
  begin();
  parent.request();
  world.run_until_empty(gate);
  for (const Answer& answer : answers) EXPECT_EQ(answer, -ECANCELED);
}

TEST_F(StopTest, OfTheChildEndsItsOwn) {
  begin();
  child.request();
  world.run_for(Milliseconds(5));
  EXPECT_FALSE(answers[0] || answers[1]);
  EXPECT_EQ(answers[2], -ECANCELED);
  EXPECT_EQ(answers[3], -ECANCELED);
  parent.request();
  world.run_until_empty(gate);
}

Task<void> wait_again_and_again(Ring& ring, Stop& stop, int fd, int& refused) {
  for (int i = 0; i < 100; ++i) {
    if (co_await readable(ring, stop, fd) == -ECANCELED) ++refused;
    if (co_await Sleep(ring, stop, Milliseconds(1)) == -ECANCELED) ++refused;
  }
}

TEST_F(StopTest, EndsWhatComesLaterToo) {
  int refused = 0;
  spawn(gate, wait_again_and_again(ring, child, pipe.read_end.get(), refused));
  world.run_for(Milliseconds(5));
  parent.request();
  world.run_until_empty(gate);
  EXPECT_EQ(refused, 200);
}

Task<void> stop_when_readable(Ring& ring, Stop& waiting, Stop& asked, int fd, Answer& answer) {
  answer = co_await readable(ring, waiting, fd);
  asked.request();
}

TEST_F(StopTest, AFlowMayStopThoseItRunsUnder) {
  spawn(gate, stop_when_readable(ring, child, parent, pipe.read_end.get(), answers[0]));
  spawn(gate, sleep_long(ring, child, answers[1]));
  spawn(gate, sleep_long(ring, parent, answers[2]));
  world.run_for(Milliseconds(5));
  ASSERT_EQ(::write(pipe.write_end.get(), "x", 1), 1);
  world.run_until_empty(gate);
  EXPECT_GT(answers[0], 0);
  EXPECT_EQ(answers[1], -ECANCELED);
  EXPECT_EQ(answers[2], -ECANCELED);
}

Task<void> phase_within(Ring& ring, Stop& stop, Milliseconds limit, bool& expired) {
  Stop within(stop);
  const Deadline deadline(ring, within, limit);
  co_await Sleep(ring, within, std::chrono::hours(1));
  expired = deadline.expired();
}

TEST_F(StopTest, ManyPhasesUnderOneParent) {
  std::deque<bool> expired(1000);
  for (std::size_t i = 0; i < expired.size(); ++i) {
    spawn(gate, phase_within(ring, parent, i % 2 == 0 ? Milliseconds(10) : tests::kPatience, expired[i]));
  }
  world.run_for(Milliseconds(50));
  EXPECT_EQ(gate.inside(), 500u);
  parent.request();
  world.run_until_empty(gate);
  for (std::size_t i = 0; i < expired.size(); ++i) EXPECT_EQ(expired[i], i % 2 == 0);
}

}  // namespace
}  // namespace tlsplice::uring
