// Promised: a report survives its text, and nothing else is taken for one: no address that a target must not
// have, no other spelling, no more than the limit, whatever the bytes are.
#include "tlsplice/resolver/report.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>

namespace tlsplice::resolver {
namespace {

Report many(std::size_t count) {
  Report report{"app.internal", {}};
  for (std::size_t i = 0; i < count; ++i)
    report.addresses.push_back(fmt::format("fd00:1111:2222:3333:4444:5555:6666:{:x}", 0x7000 + i));
  return report;
}

TEST(ReportTest, SurvivesItsText) {
  for (const Report& report :
       {Report{"app.internal", {}}, Report{"app", {"127.0.0.1", "192.0.2.1", "2001:db8::1"}},
        many(kAddressesOfANameMax)}) {
    EXPECT_EQ(parse_report(to_text(report)), report);
    EXPECT_LE(to_text(report).size(), kReportMax);
  }
}

TEST(ReportTest, TakesNothingElse) {
  using std::string_literals::operator""s;
  for (const std::string& text : {""s,
                                  " "s,
                                  " 192.0.2.1"s,
                                  "app "s,
                                  "app  192.0.2.1"s,
                                  "app 192.0.2.1 "s,
                                  "app 192.0.2"s,
                                  "app 192.0.2.1\n"s,
                                  "app 192.0.2.1\0"s,
                                  "app\0 192.0.2.1"s,
                                  "app x"s,
                                  "app 192.0.2.1:80"s,
                                  "app [2001:db8::1]"s,
                                  "app 2001:DB8::1"s,
                                  "app 2001:db8:0::1"s,
                                  "app 192.0.2.2 192.0.2.1"s,
                                  "app 192.0.2.1 192.0.2.1"s,
                                  "app 0.0.0.0"s,
                                  "app ::"s,
                                  "app ::ffff:192.0.2.1"s,
                                  to_text(many(kAddressesOfANameMax + 1)),
                                  std::string(kReportMax + 1, 'a')}) {
    EXPECT_FALSE(parse_report(text).has_value()) << text;
  }
}

TEST(ReportTest, AddressesThatNoTargetCanHave) {
  const auto why = [](const char* host) { return why_unusable(net::Address::parse(host, 1).value()); };
  for (const char* host : {"0.0.0.0", "0.1.2.3", "224.0.0.1", "239.255.255.255", "255.255.255.255",
                           "::", "ff02::1", "::ffff:0.0.0.0", "::ffff:192.0.2.1", "fe80::1", "febf::1"}) {
    EXPECT_NE(why(host), "") << host;
  }
  for (const char* host : {"127.0.0.1", "::1", "10.0.0.1", "169.254.1.1", "192.0.2.255", "223.255.255.255",
                           "2001:db8::1", "fd00::1", "fec0::1", "64:ff9b::1"}) {
    EXPECT_EQ(why(host), "") << host;
  }
}

TEST(ReportTest, WhatIsTakenIsWhatWasMeantWhateverTheBytes) {
  std::mt19937 random(7);  // NOLINT(cert-msc51-cpp): the same each time
  const std::string good = to_text({"app", {"10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::2"}});
  std::size_t taken = 0;
  for (int round = 0; round < 100'000; ++round) {
    std::string text = good;
    for (unsigned left = random() % 4; left > 0; --left) {
      const std::size_t at = random() % text.size();
      if (const unsigned kind = random() % 3; kind == 0) {
        text[at] = " 0123456789abcdef.:x"[random() % 20];
      } else if (kind == 1) {
        text.erase(at, 1);
      } else {
        text.insert(at, 1, static_cast<char>(random()));
      }
    }
    const auto report = parse_report(text);
    if (!report) continue;
    ++taken;
    ASSERT_EQ(to_text(*report), text);
    for (const std::string& address : report->addresses)
      ASSERT_EQ(why_unusable(net::Address::parse(address, 1).value()), "") << text;
  }
  EXPECT_GT(taken, 1000U);
}

}  // namespace
}  // namespace tlsplice::resolver
