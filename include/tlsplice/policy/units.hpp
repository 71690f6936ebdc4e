// Durations and sizes as people write them in the configuration: a whole number and a unit, "350s", "500ms",
// "5m", "2h", "64KiB", "16MiB". Pure; the reading and the writing agree, so a message can name a limit in the
// form the file takes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tlsplice/base/clock.hpp"
#include "tlsplice/base/result.hpp"

namespace tlsplice::policy {

/// "350s" is 350'000 ms. Anything else is Fault::kInvalid with a detail that says what would be right.
base::Result<base::Milliseconds> parse_duration(std::string_view text);

/// "64KiB" is 65'536. Units are B, KiB, MiB and GiB; errors as above.
base::Result<std::uint64_t> parse_size(std::string_view text);

/// In the largest unit that loses nothing: 350'000 ms is "350s", 300'000 ms "5m", 0 "0s". Not for negative
/// ones.
std::string duration_text(base::Milliseconds duration);
/// 65'536 is "64KiB", 1000 "1000B".
std::string size_text(std::uint64_t bytes);

}  // namespace tlsplice::policy
