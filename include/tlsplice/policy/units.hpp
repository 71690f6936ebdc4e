// Durations as people write them in the configuration: a whole number and a unit, "350s", "500ms", "5m",
// "2h". Pure; the reading and the writing agree, so a message can name a limit in the form the file takes.
#pragma once

#include <string>
#include <string_view>

#include "tlsplice/base/clock.hpp"
#include "tlsplice/base/result.hpp"

namespace tlsplice::policy {

/// "350s" is 350'000 ms. Anything else is Fault::kInvalid with a detail that says what would be right.
base::Result<base::Milliseconds> parse_duration(std::string_view text);

/// In the largest unit that loses nothing: 350'000 ms is "350s", 300'000 ms "5m", 0 "0s". Not for negative
/// ones.
std::string duration_text(base::Milliseconds duration);

}  // namespace tlsplice::policy
