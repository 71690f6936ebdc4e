// The limits of a listener's default action, the load balancer's: for the file, and for those who change a
// listener afterwards.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tlsplice/policy/config.hpp"

namespace tlsplice::policy {

inline constexpr std::int64_t kWeightMax = 999;
inline constexpr std::size_t kForwardsMax = 5;

struct ForwardMistake {
  std::optional<std::size_t> at;  // the place of the group that it is about; nullopt: all of them
  std::string what;
};

/// What speaks against target groups that are all there: too many, one twice, or of different protocols.
/// `protocol_of` a group is nullopt where that is not known.
std::vector<ForwardMistake> check_forward(
    std::span<const Forward> forward,
    const std::function<std::optional<Protocol>(std::string_view group)>& protocol_of);

}  // namespace tlsplice::policy
