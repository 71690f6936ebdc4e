// The security policies as "aws elbv2 describe-ssl-policies" prints them, so that scripts written for it go
// on working: the same keys in the same order, the same four blanks, the same words for a policy that is not
// there.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "box_table.hpp"
#include "tlsplice/policy/ssl_policies.hpp"
#include "verbs.hpp"

namespace tlsplice::cli {
namespace {

using policy::SslPolicy;
using Policies = std::vector<const SslPolicy*>;

// The API names the kinds of load balancer that know a policy.
constexpr const char* kLoadBalancerTypes[] = {"application", "network"};

int not_found(const std::vector<std::string>& unknown);
std::string as_json(const Policies& policies);
std::string as_table(const Policies& policies);

}  // namespace

int describe_ssl_policies(const std::vector<std::string>& names, Output output) {
  std::vector<std::string> unknown;
  for (const std::string& name : names) {
    if (policy::find_ssl_policy(name) == nullptr) unknown.push_back(name);
  }
  if (!unknown.empty()) return not_found(unknown);

  Policies policies;
  for (const SslPolicy& policy : policy::ssl_policies()) {
    if (names.empty() || std::ranges::find(names, policy.name) != names.end()) policies.push_back(&policy);
  }
  const std::string text = output == Output::kJson ? as_json(policies) : as_table(policies);
  const bool written = std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0;
  if (!written) std::perror("tlsplice describe-ssl-policies: stdout");
  return written ? kExitDone : kExitFailed;
}

namespace {

int not_found(const std::vector<std::string>& unknown) {
  fmt::print(stderr,
             "\nAn error occurred (SSLPolicyNotFound) when calling the DescribeSSLPolicies operation: "
             "One or more SSL policies not found\n");
  for (const std::string& name : unknown) {
    const std::string_view near = policy::nearest_ssl_policy(name);
    const std::string hint = near.empty() ? "" : fmt::format(", did you mean {}?", near);
    fmt::print(stderr, "  {}{}\n", name, hint);
  }
  return kExitFailed;
}

// Names of policies and ciphers are ours and plain, so nothing needs escaping.
std::string as_json(const Policies& policies) {
  std::string out = "{\n    \"SslPolicies\": [";
  const char* comma = "";
  const auto list = [](std::string_view key, const auto& values) {
    std::string text = fmt::format("            \"{}\": [", key);
    const char* between = "";
    for (const auto& value : values) {
      text += fmt::format("{}\n                {}", between, value);
      between = ",";
    }
    return text + "\n            ]";
  };
  for (const SslPolicy* const policy : policies) {
    std::vector<std::string> protocols, ciphers, types;
    for (const auto version : policy->protocols)
      protocols.push_back(fmt::format("\"{}\"", to_string(version)));
    for (const std::string& cipher : policy->ciphers) {
      ciphers.push_back(fmt::format("{{\n{0}    \"Name\": \"{1}\",\n{0}    \"Priority\": {2}\n{0}}}",
                                    std::string(16, ' '), cipher, ciphers.size() + 1));
    }
    for (const char* const type : kLoadBalancerTypes) types.push_back(fmt::format("\"{}\"", type));
    out += fmt::format("{}\n        {{\n{},\n{},\n            \"Name\": \"{}\",\n{}\n        }}", comma,
                       list("SslProtocols", protocols), list("Ciphers", ciphers), policy->name,
                       list("SupportedLoadBalancerTypes", types));
    comma = ",";
  }
  return out + "\n    ]\n}\n";
}

std::string as_table(const Policies& policies) {
  std::vector<BoxSection> sections{{"DescribeSSLPolicies", 0, {}, {}}};
  for (const SslPolicy* const policy : policies) {
    sections.push_back({"SslPolicies", 1, {"Name"}, {{policy->name}}});
    BoxSection ciphers{"Ciphers", 2, {"Name", "Priority"}, {}};
    for (const std::string& cipher : policy->ciphers) {
      ciphers.rows.push_back({cipher, fmt::format("{}", ciphers.rows.size() + 1)});
    }
    sections.push_back(std::move(ciphers));
    BoxSection protocols{"SslProtocols", 2, {}, {}};
    for (const auto version : policy->protocols) protocols.rows.push_back({to_string(version)});
    sections.push_back(std::move(protocols));
    BoxSection types{"SupportedLoadBalancerTypes", 2, {}, {}};
    for (const char* const type : kLoadBalancerTypes) types.rows.push_back({type});
    sections.push_back(std::move(types));
  }
  return box_table(sections);
}

}  // namespace
}  // namespace tlsplice::cli
