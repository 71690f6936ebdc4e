// The five policies as a table, in the order of the enumeration.
#include "tlsplice/policy/alpn_policies.hpp"

#include <fmt/format.h>

#include <vector>

#include "tlsplice/policy/words.hpp"

namespace tlsplice::policy {
namespace {

constexpr const char* kHttp1[] = {"http/1.1", "http/1.0"};
constexpr const char* kHttp2[] = {"h2"};
constexpr const char* kHttp1BeforeHttp2[] = {"http/1.1", "http/1.0", "h2"};
constexpr const char* kHttp2BeforeHttp1[] = {"h2", "http/1.1", "http/1.0"};

struct Row {
  const char* name;
  std::span<const char* const> protocols;
};
constexpr Row kPolicies[] = {{"None", {}},
                             {"HTTP1Only", kHttp1},
                             {"HTTP2Only", kHttp2},
                             {"HTTP2Optional", kHttp1BeforeHttp2},
                             {"HTTP2Preferred", kHttp2BeforeHttp1}};

}  // namespace

const char* to_string(AlpnPolicy policy) {
  return kPolicies[static_cast<std::size_t>(policy)].name;
}

std::span<const char* const> application_protocols(AlpnPolicy policy) {
  return kPolicies[static_cast<std::size_t>(policy)].protocols;
}

std::optional<AlpnPolicy> find_alpn_policy(std::string_view name) {
  for (std::size_t i = 0; i < std::size(kPolicies); ++i) {
    if (kPolicies[i].name == name) return static_cast<AlpnPolicy>(i);
  }
  return std::nullopt;
}

std::string no_alpn_policy(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Row& policy : kPolicies) names.emplace_back(policy.name);
  const std::string_view near = nearest(name, names);
  return fmt::format("{} is no ALPN policy, {}", in_quotes(name),
                     near.empty() ? R"(expected "None", "HTTP1Only", "HTTP2Only", "HTTP2Optional" or )"
                                    R"("HTTP2Preferred")"
                                  : fmt::format("did you mean {}?", in_quotes(near)));
}

}  // namespace tlsplice::policy
