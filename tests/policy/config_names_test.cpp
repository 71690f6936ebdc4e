// Promised: a target may be a host name, with the letters that DNS has in the wild, in whatever case; what
// looks like an address and is none stays a mistake, and each way to write a name wrongly is told as such,
// all at once. configs/names.toml is right.
#include <gtest/gtest.h>

#include <string>

#include "minimal.hpp"
#include "tlsplice/policy/config.hpp"
#include "tlsplice/policy/host_port.hpp"

namespace tlsplice::policy {
namespace {

std::string wrong(const std::string& text) {
  const auto target = parse_target(text);
  return target ? "none" : target.error();
}

std::string of(std::size_t count) {
  return std::string(count, 'a');
}

TEST(ConfigNames, WhatIsAName) {
  const std::string longest = of(63) + "." + of(63) + "." + of(63) + "." + of(61);
  ASSERT_EQ(longest.size(), 253U);
  for (const std::string& name :
       {std::string("localhost"), std::string("a"), std::string("app.internal"), std::string("app.internal."),
        std::string("3com.com"), std::string("1.2.3.4.in-addr.arpa"), std::string("_https._tcp.app.internal"),
        std::string("a--b.xn--bcher-kva.example"), std::string("0x.example"), std::string("1.2.3.4a"),
        std::string("4-3"), longest, longest + "."}) {
    const auto target = parse_target(name + ":8080");
    ASSERT_TRUE(target.has_value()) << target.error();
    EXPECT_EQ(*target, (HostPort{name, 8080}));
    EXPECT_TRUE(is_host_name(*target)) << name;
    EXPECT_EQ(to_string(*target), name + ":8080");
  }
  EXPECT_EQ(parse_target("App.Internal:1")->host, "app.internal");
}

TEST(ConfigNames, AddressesAreStillAddresses) {
  for (const char* text : {"192.0.2.1:80", "[2001:db8::1]:80", "[::ffff:192.0.2.1]:80", "0.0.0.1:80"}) {
    const auto target = parse_target(text);
    ASSERT_TRUE(target.has_value()) << target.error();
    EXPECT_FALSE(is_host_name(*target));
    EXPECT_EQ(*target, *parse_host_port(text));
  }
  EXPECT_EQ(wrong("[::]:80"), "\"[::]:80\" stands for every address, expected that of one target");
}

TEST(ConfigNames, WhatIsNone) {
  const std::string right =
      R"(, expected an IP address or host name and a port such as "192.0.2.1:443" or "app.internal:443")";
  for (const char* host : {"1.2.3", "192.0.2.256", "1.2.3.4.5", "8080", "127.1", "app.1", "1.", "0x7f000001",
                           "0x7F.", "a.0x1", "0x"}) {
    EXPECT_EQ(
        wrong(std::string(host) + ":80"),
        "\"" + std::string(host) + "\" is not an IP address, and no host name ends in a number" + right);
  }
  EXPECT_TRUE(wrong(of(254) + ":80").contains("is no host name: it is longer than 253 characters"));
  EXPECT_TRUE(
      wrong(of(64) + ".b:80").contains("is no host name: more than 63 characters stand between two dots"));
  for (const char* host : {"a..b", ".a", "a..", "..a"}) {
    EXPECT_EQ(wrong(std::string(host) + ":80"),
              "\"" + std::string(host) +
                  "\" is no host name: nothing stands between two dots, or before the first one" + right);
  }
  for (const char* host : {"*", "a b", "app/internal",
                           "b\xc3\xbc"
                           "cher.example",
                           "a@b", "a.b "}) {
    EXPECT_TRUE(wrong(std::string(host) + ":80")
                    .contains("only letters, digits, hyphens, underscores and dots can be in one"))
        << wrong(std::string(host) + ":80");
  }
  for (const char* host : {"-a", "a-", "a.-b", "a-.b"}) {
    EXPECT_TRUE(wrong(std::string(host) + ":80").contains("a hyphen stands at the beginning or the end"))
        << host;
  }
  EXPECT_EQ(wrong(""), "\"\" is no host name" + right);
  EXPECT_EQ(wrong(":80"), "\"\" is no host name" + right);
  EXPECT_EQ(wrong(".:80"), "\".\" is no host name" + right);
  EXPECT_EQ(wrong("app.internal"), "\"app.internal\" has no port" + right);
  EXPECT_EQ(wrong("app.internal:0"), "\"app.internal:0\": \"0\" is no port, expected 1 to 65535");
  EXPECT_EQ(wrong("app.internal:http"), "\"app.internal:http\": \"http\" is no port, expected 1 to 65535");
  EXPECT_NE(wrong(std::string("app\0.x:80", 9)), "none");
}

TEST(ConfigNames, OnlyTargetsHaveThem) {
  std::string text(kRest);
  text.insert(0, "[metrics]\naddress = \"localhost:9464\"\n");
  const auto config = parse_config(text, "t.toml");
  ASSERT_FALSE(config.has_value());
  EXPECT_TRUE(config.error().at(0).what.contains("is not an IP address and names are not resolved"));
}

TEST(ConfigNames, TheExampleIsRight) {
  const auto config = read_config(TLSPLICE_SOURCE_DIR "/configs/names.toml");
  ASSERT_TRUE(config.has_value()) << to_string("names.toml", config.error().at(0));
  EXPECT_EQ(config->target_groups.at(0).targets.at(0), (HostPort{"app.internal", 8080}));
}

}  // namespace
}  // namespace tlsplice::policy
