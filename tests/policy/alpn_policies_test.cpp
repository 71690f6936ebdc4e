// Promised: the ALPN policies are the load balancer's, name by name and in its order of preference, and a
// name that is none's says which would be right.
#include "tlsplice/policy/alpn_policies.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace tlsplice::policy {
namespace {

TEST(AlpnPolicies, AreTheLoadBalancers) {
  const std::pair<const char*, std::vector<std::string>> policies[] = {
      {"None", {}},
      {"HTTP1Only", {"http/1.1", "http/1.0"}},
      {"HTTP2Only", {"h2"}},
      {"HTTP2Optional", {"http/1.1", "http/1.0", "h2"}},
      {"HTTP2Preferred", {"h2", "http/1.1", "http/1.0"}}};
  for (const auto& [name, protocols] : policies) {
    const auto policy = find_alpn_policy(name);
    ASSERT_TRUE(policy.has_value()) << name;
    EXPECT_STREQ(to_string(*policy), name);
    const auto have = application_protocols(*policy);
    EXPECT_EQ(std::vector<std::string>(have.begin(), have.end()), protocols) << name;
  }
}

TEST(AlpnPolicies, HaveExactNames) {
  for (const char* const name : {"", "none", "HTTP2only", "HTTP2Only ", "h2"})
    EXPECT_EQ(find_alpn_policy(name), std::nullopt) << name;
  EXPECT_EQ(no_alpn_policy("HTTP2Prefered"),
            R"("HTTP2Prefered" is no ALPN policy, did you mean "HTTP2Preferred"?)");
  EXPECT_EQ(no_alpn_policy("h2"),
            R"("h2" is no ALPN policy, expected "None", "HTTP1Only", "HTTP2Only", "HTTP2Optional" or )"
            R"("HTTP2Preferred")");
}

}  // namespace
}  // namespace tlsplice::policy
