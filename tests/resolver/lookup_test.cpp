// Promised: a lookup brings a name's IPv4 and IPv6 addresses with the shortest time to live in the answers,
// asks over TCP for what was too long, and ends with the reason where there is nothing. Whatever a name
// server sends, or does not send, the lookup ends.
#include "../../src/resolver/lookup.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "fake_dns.hpp"

namespace tlsplice::resolver {
namespace {

using namespace std::chrono_literals;
using Records = std::vector<std::string>;

Lookup::Answer look_up(FakeDns& server, base::Milliseconds attempt = 2s,
                       const std::string& name = "app.test.") {
  Lookup lookup(name, server.servers(), attempt);
  const base::Instant limit = base::now() + 60s;
  while (!lookup.answer() && base::now() < limit) {
    std::vector<pollfd> watched;
    lookup.watch(watched);
    const auto wait = std::chrono::ceil<base::Milliseconds>(lookup.next_deadline() - base::now());
    server.turn(watched, static_cast<int>(std::clamp(wait, 0ms, 1000ms).count()));
    auto polled = watched.cbegin();
    lookup.go_on(polled);
    EXPECT_EQ(polled, watched.cend());
  }
  return lookup.answer().value();
}

std::vector<std::string> hosts(const Lookup::Answer& answer) {
  std::vector<std::string> all;
  for (const net::Address& address : answer.addresses) all.push_back(address.host());
  std::ranges::sort(all);
  return all;
}

TEST(LookupTest, BringsBothKindsOfAddresses) {
  FakeDns server([](const Question& asked) {
    return asked.type() == kA
               ? asked.answer({Question::address("192.0.2.2", 30), Question::address("192.0.2.1", 20)})
               : asked.answer({Question::address("2001:db8::1", 25)});
  });
  const auto answer = look_up(server);
  EXPECT_EQ(hosts(answer), (Records{"192.0.2.1", "192.0.2.2", "2001:db8::1"}));
  EXPECT_EQ(answer.ttl, 20s);
  EXPECT_EQ(answer.why_not, "");
}

TEST(LookupTest, OneKindIsEnough) {
  FakeDns server([](const Question& asked) {
    return asked.answer(asked.type() == kAaaa ? Records{Question::address("2001:db8::1", 25)} : Records{});
  });
  EXPECT_EQ(hosts(look_up(server)), Records{"2001:db8::1"});
}

TEST(LookupTest, AnAliasLivesNoLongerThanItsRecord) {
  FakeDns server([](const Question& asked) {
    if (asked.type() != kA) return asked.answer({});
    const std::string alias = on_the_wire("other.test");
    return asked.answer({Question::record(kCname, 7, alias), Question::address("192.0.2.1", 300, alias)});
  });
  const auto answer = look_up(server);
  EXPECT_EQ(hosts(answer), Records{"192.0.2.1"});
  EXPECT_EQ(answer.ttl, 7s);
}

TEST(LookupTest, TheHostsFileIsFirstAndHasNoTimeToLive) {
  FakeDns server([](const Question& asked) { return asked.answer({Question::address("192.0.2.1", 30)}); });
  const auto answer = look_up(server, 2s, "localhost");
  EXPECT_EQ(hosts(answer).front(), "127.0.0.1");
  EXPECT_EQ(answer.ttl, std::nullopt);
  EXPECT_EQ(server.questions(), 0U);
}

TEST(LookupTest, SaysWhyThereIsNone) {
  FakeDns unknown([](const Question& asked) { return asked.answer({}, kNameError); });
  EXPECT_EQ(look_up(unknown).why_not, "Domain name not found");
  FakeDns empty([](const Question& asked) { return asked.answer({}); });
  EXPECT_NE(look_up(empty).why_not, "");
  FakeDns silent([](const Question&) { return std::string(); });
  EXPECT_EQ(look_up(silent, 50ms).why_not, "Timeout while contacting DNS servers");
  EXPECT_GE(silent.questions(), 4U) << "both kinds, twice";
}

TEST(LookupTest, AFloodOfAddressesComesOverTcp) {
  FakeDns server([](const Question& asked) {
    if (!asked.tcp) return asked.answer({}, kTruncated);
    Records records;
    for (int i = 0; asked.type() == kA && i < 3000; ++i)
      records.push_back(Question::address(fmt::format("10.0.{}.{}", i / 250, i % 250), 30));
    return asked.answer(records);
  });
  EXPECT_EQ(look_up(server).addresses.size(), 3000U);
}

TEST(LookupTest, EndsWhateverIsAnswered) {
  const std::string other = on_the_wire("other.test");
  const std::vector<FakeDns::Reply> replies = {
      [&](const Question& asked) {  // each is the other
        return asked.answer(
            {Question::record(kCname, 1, other), Question::record(kCname, 1, "\xc0\x0c", other)});
      },
      [](const Question& asked) { return asked.answer({Question::record(kCname, 1, "\xc0\x0c")}); },
      [](const Question& asked) { return asked.answer({Question::record(kA, 1, "123")}); },
      [](const Question& asked) { return asked.answer({std::string("\xc0\xff\0\x01", 4)}); },
      [](const Question& asked) { return asked.answer({}, kTruncated); },
      [](const Question&) { return std::string(600, '\xff'); },
      [](const Question& asked) { return asked.packet; },  // the question itself
      [](const Question& asked) {
        std::string answer = asked.answer({Question::address("192.0.2.1", 30)});
        answer[0] = static_cast<char>(answer[0] + 1);  // to nobody's question
        return answer;
      }};
  for (std::size_t i = 0; i < replies.size(); ++i) {
    FakeDns server(replies[i]);
    EXPECT_NE(look_up(server, 20ms).why_not, "") << i;
  }
}

TEST(LookupTest, EndsWhateverBytesAreWrong) {
  std::mt19937 random(11);  // NOLINT(cert-msc51-cpp): the same each time
  std::size_t found = 0;
  FakeDns server([&](const Question& asked) {
    std::string answer = asked.answer({Question::record(kCname, 9, on_the_wire("b.test")),
                                       Question::address("192.0.2.1", 30, on_the_wire("b.test")),
                                       Question::address("2001:db8::1", 30, "\xc0\x0c")});
    if (random() % 4 == 0) answer.resize(random() % answer.size());
    for (unsigned left = random() % 4; left > 0 && answer.size() > 2; --left)
      answer[2 + random() % (answer.size() - 2)] = static_cast<char>(random());
    return answer;
  });
  for (int round = 0; round < 200; ++round) found += look_up(server, 5ms).why_not.empty() ? 1U : 0U;
  EXPECT_GT(found, 20U);
  EXPECT_LT(found, 200U);
}

}  // namespace
}  // namespace tlsplice::resolver
