// Promised: the text format of Prometheus, version 0.0.4, to the byte: values of labels escaped, buckets
// cumulative and equal to the count at the last one, seconds to the last microsecond.
#include "../../src/monitor/exposition.hpp"

#include <gtest/gtest.h>

namespace tlsplice::monitor {
namespace {

TEST(Exposition, AFamilyIsItsHelpItsTypeAndItsSamples) {
  Exposition out;
  out.begin({"a_total", Type::kCounter, "What it counts."});
  out.sample({}, 7);
  out.sample({{"listener", "web"}, {"reason", "timeout"}}, UINT64_MAX);
  out.begin({"b", Type::kGauge, "Now."});
  out.sample({{"x", ""}}, 0);
  EXPECT_EQ(out.take(),
            "# HELP a_total What it counts.\n"
            "# TYPE a_total counter\n"
            "a_total 7\n"
            "a_total{listener=\"web\",reason=\"timeout\"} 18446744073709551615\n"
            "# HELP b Now.\n"
            "# TYPE b gauge\n"
            "b{x=\"\"} 0\n");
}

TEST(Exposition, LabelsAreEscaped) {
  Exposition out;
  out.begin({"a", Type::kGauge, "-"});
  out.sample({{"x", "a\"b\\c\nd"}}, 1);
  EXPECT_NE(out.take().find("a{x=\"a\\\"b\\\\c\\nd\"} 1\n"), std::string::npos);
}

TEST(Exposition, SecondsLoseNothing) {
  Exposition out;
  out.begin({"a_seconds", Type::kGauge, "-"});
  out.seconds({}, 1);
  out.seconds({}, 12'345'678'000'001);
  const std::string text = out.take();
  EXPECT_NE(text.find("a_seconds 0.000001\n"), std::string::npos);
  EXPECT_NE(text.find("a_seconds 12345678.000001\n"), std::string::npos);
}

TEST(Exposition, BucketsAddUpToTheCount) {
  Exposition out;
  out.begin({"t_seconds", Type::kHistogram, "-"});
  const Step steps[] = {{250, 1}, {1'000'000, 2}, {UINT64_MAX, 4}};
  out.histogram({{"listener", "web"}}, steps, 3'500'000);
  EXPECT_EQ(out.take(),
            "# HELP t_seconds -\n"
            "# TYPE t_seconds histogram\n"
            "t_seconds_bucket{listener=\"web\",le=\"0.00025\"} 1\n"
            "t_seconds_bucket{listener=\"web\",le=\"1\"} 3\n"
            "t_seconds_bucket{listener=\"web\",le=\"+Inf\"} 7\n"
            "t_seconds_sum{listener=\"web\"} 3.500000\n"
            "t_seconds_count{listener=\"web\"} 7\n");
}

}  // namespace
}  // namespace tlsplice::monitor
