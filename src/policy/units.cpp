// Durations and sizes in the form of the configuration. A number without its unit is refused rather than
// guessed: seconds to one reader are milliseconds to another.
#include "tlsplice/policy/units.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cstdint>
#include <span>

#include "tlsplice/policy/words.hpp"

namespace tlsplice::policy {
namespace {

struct Unit {
  std::string_view suffix;
  std::int64_t worth;
};

/// What is counted, in the words of its messages. Units stand with the largest first.
struct Measure {
  std::string_view noun;
  std::string_view names;  // of the units
  std::string_view example;
  std::span<const Unit> units;
};

constexpr Unit kTimes[] = {{"h", 3'600'000}, {"m", 60'000}, {"s", 1'000}, {"ms", 1}};
constexpr Measure kDuration{"duration", "ms, s, m or h", "10s", kTimes};
constexpr Unit kSizes[] = {{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}};
constexpr Measure kSize{"size", "B, KiB, MiB or GiB", "64KiB", kSizes};

base::Result<std::int64_t> parse(std::string_view text, const Measure& measure);

}  // namespace

base::Result<base::Milliseconds> parse_duration(std::string_view text) {
  const auto value = parse(text, kDuration);
  if (!value) return base::fail(value.error());
  return base::Milliseconds(*value);
}

base::Result<std::uint64_t> parse_size(std::string_view text) {
  const auto value = parse(text, kSize);
  if (!value) return base::fail(value.error());
  return static_cast<std::uint64_t>(*value);
}

std::string duration_text(base::Milliseconds duration) {
  const std::int64_t milliseconds = duration.count();
  return milliseconds % 1'000 == 0 ? fmt::format("{}s", milliseconds / 1'000)
                                   : fmt::format("{}ms", milliseconds);
}

std::string size_text(std::uint64_t bytes) {
  for (const Unit& unit : kSizes) {
    const auto worth = static_cast<std::uint64_t>(unit.worth);
    if (bytes >= worth && bytes % worth == 0) return fmt::format("{}{}", bytes / worth, unit.suffix);
  }
  return "0B";
}

namespace {

base::Result<std::int64_t> parse(std::string_view text, const Measure& measure) {
  const auto refuse = [&](std::string_view reason) {
    return base::fail(
        base::Error::invalid(fmt::format("{} is no {}: {}; expected one such as \"{}\"", in_quotes(text),
                                         measure.noun, reason, measure.example)));
  };
  if (text.starts_with('-')) return refuse(fmt::format("a {} is never negative", measure.noun));
  std::int64_t number = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (fault == std::errc::result_out_of_range) return refuse("the number is too large");
  if (fault != std::errc{}) return refuse("not a whole number and a unit");

  const std::string_view suffix = text.substr(static_cast<std::size_t>(end - text.data()));
  if (suffix.empty()) return refuse(fmt::format("no unit ({})", measure.names));
  for (const Unit& unit : measure.units) {
    if (unit.suffix != suffix) continue;
    std::int64_t value = 0;
    if (__builtin_mul_overflow(number, unit.worth, &value)) return refuse("the number is too large");
    return value;
  }
  return refuse(fmt::format("not a whole number and a unit ({})", measure.names));
}

}  // namespace
}  // namespace tlsplice::policy
