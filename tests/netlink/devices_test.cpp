// Promised: every device that is up is there with its three tls-hw-* features. Loopback can do none of them,
// on any kernel; one that is down is not there. Devices for the second are made in a network namespace of a
// child; that needs root.
#include "tlsplice/netlink/devices.hpp"

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>

#include "../base/child.hpp"

namespace tlsplice::netlink {
namespace {

TEST(Devices, LoopbackCannot) {
  const auto devices = devices_up();
  ASSERT_TRUE(devices.has_value()) << devices.error().text();
  const auto loopback = std::ranges::find(*devices, "lo", &Device::name);
  ASSERT_NE(loopback, devices->end());
  // A kernel built without CONFIG_TLS_DEVICE knows the names all the same.
  EXPECT_EQ(loopback->tls_send, Feature::kFixedOff);
  EXPECT_EQ(loopback->tls_receive, Feature::kFixedOff);
  EXPECT_TRUE(loopback->tls_record == Feature::kFixedOff || loopback->tls_record == Feature::kMissing);
}

TEST(Devices, OnlyThoseThatAreUp) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const std::string said = tests::in_child([] {
    if (::unshare(CLONE_NEWNET) != 0) return std::string("skip");
    const auto devices = devices_up();  // a new namespace has a loopback device that is down
    if (!devices) return devices.error().text();
    return std::string(devices->empty() ? "" : devices->front().name);
  });
  if (said == "skip") GTEST_SKIP() << "no network namespaces here";
  EXPECT_EQ(said, "");
}

TEST(Features, AreWrittenAsEthtoolDoes) {
  EXPECT_STREQ(to_string(Feature::kFixedOff), "off [fixed]");
  EXPECT_STREQ(to_string(Feature::kOn), "on");
  EXPECT_STREQ(to_string(Feature::kMissing), "missing");
}

}  // namespace
}  // namespace tlsplice::netlink
