// Promised: the flows of one target end, or those that one listener forwards to some targets, and no others;
// those of a target that come when none is left go on, those that a listener no longer forwards never.
#include "tlsplice/session/target_stops.hpp"

#include <gtest/gtest.h>

namespace tlsplice::session {
namespace {

class TargetStopsTest : public testing::Test {
 protected:
  /// "01" and so on: the listener and the target of each pair that is to end.
  std::string ended() {
    std::string out;
    for (std::size_t listener = 0; listener < 2; ++listener) {
      for (std::size_t target = 0; target < 3; ++target) {
        if (stops_.of(listener, target).requested())
          out += std::to_string(listener) + std::to_string(target) + " ";
      }
    }
    return out;
  }

  uring::Stop all_;
  TargetStops stops_{all_, 2, 3};
};

TEST_F(TargetStopsTest, OfATargetUntilNoneIsLeft) {
  uring::Stop& met = stops_.of(0, 1);
  stops_.request(1);
  EXPECT_TRUE(met.requested());
  EXPECT_EQ(ended(), "01 11 ");
  stops_.renew(1);
  EXPECT_EQ(ended(), "");
}

TEST_F(TargetStopsTest, OfAListenersShareForGood) {
  stops_.request_for_good(1, 0, 2);
  EXPECT_EQ(ended(), "10 11 ");
  stops_.request(1);
  EXPECT_EQ(ended(), "01 10 11 ");
  stops_.renew(1);
  EXPECT_EQ(ended(), "10 11 ");
}

TEST_F(TargetStopsTest, AllEndWithTheWorker) {
  (void)stops_.of(0, 0);
  all_.request();
  EXPECT_EQ(ended(), "00 01 02 10 11 12 ");
}

}  // namespace
}  // namespace tlsplice::session
