#include "tlsplice/policy/forward.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "tlsplice/policy/words.hpp"

namespace tlsplice::policy {

std::vector<ForwardMistake> check_forward(
    std::span<const Forward> forward,
    const std::function<std::optional<Protocol>(std::string_view group)>& protocol_of) {
  std::vector<ForwardMistake> mistakes;
  std::optional<Protocol> protocol;
  for (std::size_t i = 0; i < forward.size(); ++i) {
    const std::string& group = forward[i].target_group;
    const auto before = forward.first(i);
    if (std::ranges::find(before, group, &Forward::target_group) != before.end()) {
      mistakes.push_back({i, in_quotes(group) + " is in the list already, expected each group once"});
      continue;
    }
    const std::optional<Protocol> its = protocol_of(group);
    if (its && protocol && *its != *protocol) {
      mistakes.push_back(
          {i, fmt::format("{} is a {} group and those before it are {} ones, expected groups of "
                          "one protocol",
                          in_quotes(group), to_string(*its), to_string(*protocol))});
    }
    if (!protocol) protocol = its;
  }
  if (forward.size() > kForwardsMax) {
    mistakes.push_back({std::nullopt, fmt::format("{} target groups are too many, expected at most {}",
                                                  forward.size(), kForwardsMax)});
  }
  return mistakes;
}

}  // namespace tlsplice::policy
