// Promised: durations are a whole number and a unit and nothing else, with a sentence for each way to miss
// that; what is written is read back the same.
#include "tlsplice/policy/units.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace tlsplice::policy {
namespace {

using base::Milliseconds;

std::string why(std::string_view text) {
  const auto duration = parse_duration(text);
  return duration ? "is right" : duration.error().detail;
}

TEST(ParseDuration, TakesEachUnit) {
  EXPECT_EQ(parse_duration("500ms").value(), Milliseconds(500));
  EXPECT_EQ(parse_duration("350s").value(), Milliseconds(350'000));
  EXPECT_EQ(parse_duration("5m").value(), Milliseconds(300'000));
  EXPECT_EQ(parse_duration("2h").value(), Milliseconds(7'200'000));
  EXPECT_EQ(parse_duration("0s").value(), Milliseconds(0));
  EXPECT_EQ(parse_duration("007s").value(), Milliseconds(7'000));
}

TEST(ParseSize, TakesEachUnitAndNothingElse) {
  EXPECT_EQ(parse_size("17B").value(), 17u);
  EXPECT_EQ(parse_size("64KiB").value(), 65'536u);
  EXPECT_EQ(parse_size("16MiB").value(), 16'777'216u);
  EXPECT_EQ(parse_size("2GiB").value(), 2'147'483'648u);
  EXPECT_EQ(parse_size("64").error().detail,
            R"("64" is no size: no unit (B, KiB, MiB or GiB); expected one such as "64KiB")");
  EXPECT_FALSE(parse_size("64kb"));
  EXPECT_FALSE(parse_size("-1B"));
  EXPECT_FALSE(parse_size("9223372036854775807GiB"));
}

TEST(SizeText, IsReadBackTheSame) {
  for (const std::uint64_t bytes : {0ULL, 1ULL, 1000ULL, 1024ULL, 65'536ULL, 5ULL << 20, 3ULL << 30}) {
    EXPECT_EQ(parse_size(size_text(bytes)).value(), bytes) << size_text(bytes);
  }
  EXPECT_EQ(size_text(65'536), "64KiB");
}

TEST(ParseDuration, SaysWhatIsWrong) {
  const std::string right = R"(; expected one such as "10s")";
  EXPECT_EQ(why(""), R"("" is no duration: not a whole number and a unit)" + right);
  EXPECT_EQ(why("s"), R"("s" is no duration: not a whole number and a unit)" + right);
  EXPECT_EQ(why("10"), R"("10" is no duration: no unit (ms, s, m or h))" + right);
  EXPECT_EQ(why("-1s"), R"("-1s" is no duration: a duration is never negative)" + right);
  const std::string unit = " is no duration: not a whole number and a unit (ms, s, m or h)" + right;
  EXPECT_EQ(why("10S"), R"("10S")" + unit);
  EXPECT_EQ(why("10 s"), R"("10 s")" + unit);
  EXPECT_EQ(why("1.5s"), R"("1.5s")" + unit);
  EXPECT_EQ(why("10sec"), R"("10sec")" + unit);
  EXPECT_EQ(why("5m30s"), R"("5m30s")" + unit);
}

TEST(ParseDuration, TakesNoSignNoSpaceNoBase) {
  for (const std::string_view text : {"+1s", " 1s", "1s ", "0x1s", "--1s", "1e3s"}) {
    EXPECT_FALSE(parse_duration(text).has_value()) << text;
  }
  EXPECT_FALSE(parse_duration(std::string_view("1s\0", 3)).has_value());
}

TEST(ParseDuration, RefusesWhatDoesNotFit) {
  EXPECT_EQ(parse_duration("9223372036854775807ms").value().count(),
            std::numeric_limits<std::int64_t>::max());
  const std::string large = R"( is no duration: the number is too large; expected one such as "10s")";
  EXPECT_EQ(why("9223372036854775808ms"), R"("9223372036854775808ms")" + large);
  EXPECT_EQ(why("9223372036854775807s"), R"("9223372036854775807s")" + large);
  EXPECT_EQ(why("2562047788016h"), R"("2562047788016h")" + large);
  EXPECT_TRUE(parse_duration("2562047788015h").has_value());
}

TEST(DurationText, IsInSecondsWhereTheyFit) {
  EXPECT_EQ(duration_text(Milliseconds(0)), "0s");
  EXPECT_EQ(duration_text(Milliseconds(1)), "1ms");
  EXPECT_EQ(duration_text(Milliseconds(1'500)), "1500ms");
  EXPECT_EQ(duration_text(Milliseconds(350'000)), "350s");
  EXPECT_EQ(duration_text(Milliseconds(6'000'000)), "6000s");
  EXPECT_EQ(duration_text(Milliseconds(86'400'000)), "86400s");
  for (const std::int64_t count : {1, 999, 1'000, 60'000, 61'000, 3'600'000, 3'600'001}) {
    EXPECT_EQ(parse_duration(duration_text(Milliseconds(count))).value().count(), count);
  }
}

}  // namespace
}  // namespace tlsplice::policy
