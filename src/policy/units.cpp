// Durations in the form of the configuration. A number without its unit is refused rather than guessed:
// seconds to one reader are milliseconds to another.
#include "tlsplice/policy/units.hpp"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cstdint>

#include "words.hpp"

namespace tlsplice::policy {
namespace {

struct Unit {
  std::string_view suffix;
  std::int64_t milliseconds;
};
constexpr std::array<Unit, 4> kUnits{{{"h", 3'600'000}, {"m", 60'000}, {"s", 1'000}, {"ms", 1}}};

const Unit* find_unit(std::string_view suffix);
std::unexpected<base::Error> refuse(std::string_view text, std::string_view reason);

}  // namespace

base::Result<base::Milliseconds> parse_duration(std::string_view text) {
  if (text.starts_with('-')) return refuse(text, "a duration is never negative");
  std::int64_t number = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (fault == std::errc::result_out_of_range) return refuse(text, "the number is too large");
  if (fault != std::errc{}) return refuse(text, "not a whole number and a unit");

  const std::string_view suffix = text.substr(static_cast<std::size_t>(end - text.data()));
  if (suffix.empty()) return refuse(text, "no unit (ms, s, m or h)");
  const Unit* const unit = find_unit(suffix);
  if (unit == nullptr) return refuse(text, "not a whole number and a unit (ms, s, m or h)");
  std::int64_t milliseconds = 0;
  if (__builtin_mul_overflow(number, unit->milliseconds, &milliseconds)) {
    return refuse(text, "the number is too large");
  }
  return base::Milliseconds(milliseconds);
}

std::string duration_text(base::Milliseconds duration) {
  const std::int64_t milliseconds = duration.count();
  return milliseconds % 1'000 == 0 ? fmt::format("{}s", milliseconds / 1'000)
                                   : fmt::format("{}ms", milliseconds);
}

namespace {

const Unit* find_unit(std::string_view suffix) {
  for (const Unit& unit : kUnits) {
    if (unit.suffix == suffix) return &unit;
  }
  return nullptr;
}

std::unexpected<base::Error> refuse(std::string_view text, std::string_view reason) {
  return base::fail(base::Error::invalid(
      fmt::format("{} is no duration: {}; expected one such as \"10s\"", in_quotes(text), reason)));
}

}  // namespace
}  // namespace tlsplice::policy
