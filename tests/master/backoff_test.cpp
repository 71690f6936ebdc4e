// Promised: the first death is answered at once, deaths in a row with doubling pauses up to the longest, and
// a good life is forgiven what came before. Checked with lives of the test's own choosing.
#include "../../src/master/backoff.hpp"

#include <gtest/gtest.h>

namespace tlsplice::master {
namespace {

using base::Milliseconds;

TEST(Backoff, AnswersTheFirstDeathAtOnce) {
  Backoff backoff;
  EXPECT_EQ(backoff.after_death(Milliseconds(0)), Milliseconds(0));
}

TEST(Backoff, DoublesUpToTheLongestPause) {
  Backoff backoff;
  for (const int ms : {0, 100, 200, 400, 800, 1600, 3200, 6400, 10'000, 10'000, 10'000}) {
    EXPECT_EQ(backoff.after_death(Milliseconds(1)), Milliseconds(ms));
  }
}

TEST(Backoff, ForgivesAfterAGoodLife) {
  Backoff backoff;
  for (int i = 0; i < 20; ++i) backoff.after_death(Milliseconds(1));
  EXPECT_EQ(backoff.after_death(Backoff::kGoodLife), Milliseconds(0));
  EXPECT_EQ(backoff.after_death(Milliseconds(1)), Backoff::kFirstPause);
}

TEST(Backoff, DoesNotForgiveALifeThatWasAlmostGood) {
  Backoff backoff;
  for (int i = 0; i < 20; ++i) backoff.after_death(Milliseconds(1));
  EXPECT_EQ(backoff.after_death(Backoff::kGoodLife - Milliseconds(1)), Backoff::kLongestPause);
}

}  // namespace
}  // namespace tlsplice::master
