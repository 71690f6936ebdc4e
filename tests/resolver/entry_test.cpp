// Promised: an answer's time to live says when to ask again, within limits; a failed lookup changes nothing
// and is repeated less and less often; an address goes when answers have lacked it for a while, so a name
// server that answers with other addresses of the same set each time changes nothing; a flood of addresses
// does not displace those that are known.
#include "../../src/resolver/entry.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tlsplice/resolver/report.hpp"

namespace tlsplice::resolver {
namespace {

using namespace std::chrono_literals;
using Addresses = std::vector<std::string>;

class EntryTest : public testing::Test {
 protected:
  void answer(Addresses addresses, std::optional<base::Milliseconds> ttl = 5s) {
    entry_.enter({std::move(addresses), ttl}, now_);
  }
  base::Milliseconds until_due() const {
    return std::chrono::duration_cast<base::Milliseconds>(entry_.due() - now_);
  }

  base::Instant now_{1000s};
  Entry entry_{{}, {}, now_};
};

TEST_F(EntryTest, IsAskedForAgainAsTheAnswerSays) {
  EXPECT_EQ(until_due(), 0s);
  for (const auto& [ttl, wait] : {std::pair<std::optional<base::Milliseconds>, base::Milliseconds>{0s, 1s},
                                  {1s, 1s},
                                  {20s, 20s},
                                  {60s, 60s},
                                  {86400s, 60s},
                                  {std::nullopt, 10s}}) {
    answer({"192.0.2.1"}, ttl);
    EXPECT_EQ(until_due(), wait);
  }
}

TEST_F(EntryTest, FailuresChangeNothingAndAreRepeatedLessAndLessOften) {
  answer({"192.0.2.1"});
  std::vector<std::int64_t> waits;
  for (int i = 0; i < 7; ++i) {
    EXPECT_EQ(entry_.enter_failure(now_), i == 0) << "said once";
    waits.push_back(until_due() / 1s);
    now_ = entry_.due();
  }
  EXPECT_EQ(waits, (std::vector<std::int64_t>{1, 2, 4, 8, 16, 30, 30}));
  EXPECT_EQ(entry_.addresses(), Addresses{"192.0.2.1"});
  EXPECT_TRUE(entry_.enter({{"192.0.2.1"}, 5s}, now_)) << "it is back";
  EXPECT_FALSE(entry_.enter({{"192.0.2.1"}, 5s}, now_));
  EXPECT_TRUE(entry_.enter_failure(now_));
  EXPECT_EQ(until_due(), 1s);
}

TEST_F(EntryTest, AnAddressGoesWhenItWasMissingForAWhile) {
  answer({"192.0.2.2", "192.0.2.1"});
  EXPECT_EQ(entry_.addresses(), (Addresses{"192.0.2.1", "192.0.2.2"}));
  now_ += 60s;  // the answer lived that long
  answer({"192.0.2.3"}, 60s);
  EXPECT_EQ(entry_.addresses(), (Addresses{"192.0.2.1", "192.0.2.2", "192.0.2.3"}));
  EXPECT_EQ(until_due(), 30s) << "not only when the answer has died";
  now_ += 20s;
  answer({"192.0.2.3", "192.0.2.1"}, 60s);
  EXPECT_EQ(until_due(), 10s);
  now_ += 10s;
  answer({"192.0.2.3"}, 60s);
  EXPECT_EQ(entry_.addresses(), (Addresses{"192.0.2.1", "192.0.2.3"})) << "the first one was seen again";
  EXPECT_EQ(until_due(), 30s);
}

TEST_F(EntryTest, TimeWithoutAnswersIsNoProof) {
  answer({"192.0.2.1"});
  answer({"192.0.2.2"});
  for (int i = 0; i < 20; ++i) entry_.enter_failure(now_ += 30s);
  EXPECT_EQ(entry_.addresses(), (Addresses{"192.0.2.1", "192.0.2.2"}));
  answer({"192.0.2.2"});
  EXPECT_EQ(entry_.addresses(), Addresses{"192.0.2.2"});
}

TEST_F(EntryTest, ARotationChangesNothing) {
  for (int i = 0; i < 8; ++i) answer({fmt::format("192.0.2.{}", i), fmt::format("192.0.2.{}", (i + 1) % 8)});
  const Addresses all = entry_.addresses();
  EXPECT_EQ(all.size(), 8U);
  for (int i = 0; i < 100; ++i) {
    now_ += 3s;
    answer({fmt::format("192.0.2.{}", (i + 1) % 8), fmt::format("192.0.2.{}", i % 8)});
    ASSERT_EQ(entry_.addresses(), all);
  }
}

TEST_F(EntryTest, AFloodDisplacesNobody) {
  answer({"9.9.9.9"});
  Addresses flood;
  for (int i = 0; i < 4000; ++i) flood.push_back(fmt::format("10.0.{}.{}", i / 250, i % 250));
  for (int i = 0; i < 3; ++i) {
    answer(flood);
    EXPECT_EQ(entry_.addresses().size(), kAddressesOfANameMax);
    EXPECT_EQ(entry_.addresses().back(), "9.9.9.9");
    EXPECT_TRUE(std::ranges::is_sorted(entry_.addresses()));
  }
  EXPECT_EQ(entry_.left_out(), 4000 - kAddressesOfANameMax + 1);
  now_ += 30s;
  answer({"9.9.9.9"});
  EXPECT_EQ(entry_.left_out(), 0U);
}

TEST_F(EntryTest, BeginsWithWhatWasKnown) {
  Entry entry({"192.0.2.1", "192.0.2.2"}, {}, now_);
  EXPECT_EQ(entry.due(), now_);
  entry.enter_failure(now_);
  EXPECT_EQ(entry.addresses(), (Addresses{"192.0.2.1", "192.0.2.2"}));
  entry.enter({{"192.0.2.2"}, 5s}, now_);
  EXPECT_EQ(entry.addresses(), (Addresses{"192.0.2.1", "192.0.2.2"})) << "absence begins here";
  entry.enter({{"192.0.2.2"}, 5s}, now_ + 30s);
  EXPECT_EQ(entry.addresses(), Addresses{"192.0.2.2"});
}

}  // namespace
}  // namespace tlsplice::resolver
