// Promised: every mistake of a file comes out in one pass, in the order of the file, with its place, its key,
// what is wrong and what would be right. The words are part of the promise, so they are compared to the
// letter.
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "minimal.hpp"
#include "tlsplice/policy/config.hpp"

namespace tlsplice::policy {
namespace {

using Lines = std::vector<std::string>;

Lines lines_of(const std::filesystem::path& file, const std::expected<Config, std::vector<Mistake>>& config) {
  Lines out;
  if (config) return out;
  for (const Mistake& mistake : config.error()) out.push_back(to_string(file, mistake));
  return out;
}

Lines mistakes(std::string_view text) {
  return lines_of("t.toml", parse_config(text, "t.toml"));
}

Lines top(std::string_view line) {
  return mistakes(std::string(line) + std::string(kRest));
}

// The line under test is line 6 of a group, line 2 to 5 being right; none of them may be in it again.
Lines in_group(std::string_view line) {
  return mistakes(std::string(kRest) + "[[target_group]]\nname = \"more\"\n" + std::string(line));
}

// A TLS listener whose keys come first and the line under test last, as line 17 of the file.
constexpr std::string_view kListener = R"([[listener]]
name = "web"
protocol = "TLS"
address = "0.0.0.0:443"
default_action = { forward = "app" }
certificate = { chain = "web.pem", key = "web.key" }
)";
Lines in_listener(std::string_view line, std::string_view without = "") {
  std::string text = std::string(kRest) + std::string(kListener);
  if (!without.empty()) {
    const std::size_t begin = text.rfind(without);
    text.erase(begin, text.find('\n', begin) - begin);  // the empty line stays and keeps the numbers
  }
  return mistakes(text + std::string(line));
}

TEST(ConfigMistakes, TheRestIsRight) {
  EXPECT_EQ(top(""), Lines{});
  EXPECT_EQ(in_listener(""), Lines{});
}

TEST(ConfigMistakes, AllAtOnceInTheOrderOfTheFile) {
  EXPECT_EQ(
      mistakes(R"(worker = 2
drain_timeout = 30
[[listener]]
name = "web"
protocol = "tls"
address = "localhost:443"
ssl_polcy = "ELBSecurityPolicy-2016-08"
default_action = { forward = "ap" }
[log]
level = "loud"
[[target_group]]
name = "app"
targets = ["127.0.0.1:80", "127.0.0.1:080", 7]
)"),
      (Lines{
          R"(t.toml:1:1: worker: unknown key, did you mean workers?)",
          R"(t.toml:2:17: drain_timeout: expected a duration in quotes such as "10s")",
          R"(t.toml:5:12: listener.protocol: "tls" is unknown, expected "TLS" or "TCP")",
          R"(t.toml:6:11: listener.address: "localhost" is not an IP address and names are not resolved, )"
          R"(expected an IP address and a port such as "192.0.2.1:443")",
          R"(t.toml:7:1: listener.ssl_polcy: unknown key, did you mean ssl_policy?)",
          R"(t.toml:8:30: listener.default_action.forward: no [[target_group]] is named "ap", )"
          R"(did you mean "app"?)",
          R"(t.toml:10:9: log.level: "loud" is unknown, expected "error", "warning", "info" or "debug")",
          R"(t.toml:11:1: target_group.protocol: missing, expected "TCP" or "TLS")",
          R"(t.toml:13:28: target_group.targets: "127.0.0.1:080" is in the list already, at 13:12; )"
          R"(expected each target once)",
          R"(t.toml:13:45: target_group.targets: expected text in quotes, not a number)",
      }));
}

TEST(ConfigMistakes, WhatIsNoToml) {
  EXPECT_EQ(
      mistakes("workers = 2\nuser = nobody\n"),
      (Lines{"t.toml:2:9: not valid TOML: Error while parsing floating-point: expected 'nan', saw 'no'"}));
  EXPECT_EQ(mistakes("workers = 2\nworkers = 3\n").size(), 1u);
  EXPECT_EQ(mistakes("\xff").size(), 1u);
  EXPECT_EQ(mistakes("[[[").size(), 1u);
  EXPECT_EQ(mistakes(std::string_view("\0", 1)).size(), 1u);
  for (const std::string& line : mistakes("a = \x1b[31m")) EXPECT_EQ(line.find('\x1b'), line.npos) << line;
}

TEST(ConfigMistakes, AnEmptyFile) {
  EXPECT_EQ(mistakes(""), (Lines{"t.toml: listener: missing, expected at least one [[listener]]"}));
  EXPECT_EQ(mistakes("listener = []"), (Lines{"t.toml:1:12: listener: expected at least one [[listener]]"}));
}

TEST(ConfigMistakes, Top) {
  EXPECT_EQ(top("workers = 0"), (Lines{"t.toml:1:11: workers: 0 is out of range, expected 1 to 1024"}));
  EXPECT_EQ(top("workers = 1025"), (Lines{"t.toml:1:11: workers: 1025 is out of range, expected 1 to 1024"}));
  EXPECT_EQ(top("workers = \"2\""),
            (Lines{"t.toml:1:11: workers: expected a whole number from 1 to 1024, not text"}));
  EXPECT_EQ(
      top("workers = 2.0"),
      (Lines{"t.toml:1:11: workers: expected a whole number from 1 to 1024, not a number with a fraction"}));
  EXPECT_EQ(top("max_flows = -1"),
            (Lines{"t.toml:1:13: max_flows: -1 is out of range, expected 1 to 10000000"}));
  EXPECT_EQ(top("user = true"), (Lines{"t.toml:1:8: user: expected text in quotes, not true or false"}));
  EXPECT_EQ(top("user = \"\""),
            (Lines{"t.toml:1:8: user: \"\" is no user name, expected one such as \"nobody\""}));
  EXPECT_EQ(top("user = \"a\\u0000b\""),
            (Lines{"t.toml:1:8: user: \"a\\x00b\" is no user name, expected one such as \"nobody\""}));
  EXPECT_EQ(top("drain_timeout = \"25h\""),
            (Lines{"t.toml:1:17: drain_timeout: \"25h\" is out of range, expected \"0s\" to \"86400s\""}));
  EXPECT_EQ(
      top("drain_timeout = \"10\""),
      (Lines{
          "t.toml:1:17: drain_timeout: \"10\" is no duration: no unit (ms, s, m or h); expected one such as "
          "\"10s\""}));
  EXPECT_EQ(top("log = 1"), (Lines{"t.toml:1:7: log: expected a table headed [log], not a number"}));
  EXPECT_EQ(top("log.format = 2026-01-01"),
            (Lines{"t.toml:1:14: log.format: expected text in quotes, not a date or time"}));
}

TEST(ConfigMistakes, UnknownKeys) {
  EXPECT_EQ(top("colour = 1"),
            (Lines{"t.toml:1:1: colour: unknown key, known here are workers, user, max_flows, "
                   "key_update_after, "
                   "drain_timeout, steering, bpf_directory, log, access_log, admin, metrics, target_group, "
                   "listener"}));
  EXPECT_EQ(top("Max-Flows = 1"), (Lines{"t.toml:1:1: Max-Flows: unknown key, did you mean max_flows?"}));
  EXPECT_EQ(top("log.fromat = 1"), (Lines{"t.toml:1:5: log.fromat: unknown key, did you mean format?"}));
  EXPECT_EQ(in_listener("\"a b\" = 1")[0].substr(0, 40), "t.toml:17:1: listener.\"a b\": unknown key");
  EXPECT_EQ(in_listener("tcp.idle = \"1s\""),
            (Lines{"t.toml:17:5: listener.tcp.idle: unknown key, known here are idle_timeout"}));
  const Lines hostile = top("\"\\u001b]0;x\\u009b" + std::string(1000, 'k') + "\" = 1");
  ASSERT_EQ(hostile.size(), 1u);
  EXPECT_LT(hostile[0].size(), 300u);
  EXPECT_EQ(hostile[0].find('\x1b'), std::string::npos);
  EXPECT_EQ(hostile[0].find("\xc2\x9b"), std::string::npos);
}

TEST(ConfigMistakes, OneBracketTooFewOrTooMany) {
  EXPECT_EQ(mistakes("[listener]\nname = \"web\"\n"),
            (Lines{"t.toml:1:1: listener: there can be several, so the heading is [[listener]]"}));
  EXPECT_EQ(top("target_groups = 1"),
            (Lines{"t.toml:1:1: target_groups: unknown key, did you mean target_group?"}));
  EXPECT_EQ(mistakes("listener = [1]"),
            (Lines{"t.toml:1:13: listener: expected tables headed [[listener]], not a number"}));
  EXPECT_EQ(top("[[log]]"), (Lines{"t.toml:1:1: log: expected a table headed [log], not a list"}));
}

TEST(ConfigMistakes, WhatIsMissing) {
  EXPECT_EQ(
      mistakes("[[listener]]\n[[target_group]]\n"),
      (Lines{
          R"(t.toml:1:1: listener.address: missing, expected one such as "0.0.0.0:443")",
          R"(t.toml:1:1: listener.default_action: missing, expected { forward = "app" })",
          R"(t.toml:1:1: listener.name: missing, expected one such as "web")",
          R"(t.toml:1:1: listener.protocol: missing, expected "TLS" or "TCP")",
          R"(t.toml:2:1: target_group.name: missing, expected one such as "app")",
          R"(t.toml:2:1: target_group.protocol: missing, expected "TCP" or "TLS")",
          R"(t.toml:2:1: target_group.targets: missing, expected ["192.0.2.1:8080", "[2001:db8::1]:8080", )"
          R"("app.internal:8080"])",
      }));
  EXPECT_EQ(in_listener("", "certificate"), (Lines{"t.toml:11:1: listener.certificate: missing, expected "
                                                   "{ chain = \"web.pem\", key = \"web.key\" }"}));
  EXPECT_EQ(
      in_listener("default_action = {}", "default_action"),
      (Lines{"t.toml:17:18: listener.default_action.forward: missing, expected the name of a target group"}));
  EXPECT_EQ(in_listener("certificate = { chain = \"web.pem\" }", "certificate"),
            (Lines{"t.toml:17:15: listener.certificate.key: missing, expected the path of a PEM file"}));
}

TEST(ConfigMistakes, Names) {
  const std::string right =
      " is no name, expected 1 to 32 letters, digits and hyphens, no hyphen at either end";
  for (const std::string name :
       {"", "-a", "a-", "my_app", "a.b", "ä", "a b", "abcdefghijklmnopqrstuvwxyz0123456"}) {
    EXPECT_EQ(in_listener("name = \"" + name + "\"", "name"),
              (Lines{"t.toml:17:8: listener.name: \"" + name + "\"" + right}));
  }
  EXPECT_EQ(in_listener("name = \"abcdefghijklmnopqrstuvwxyz012345\"", "name"), Lines{});
  EXPECT_EQ(in_listener("name = \"plain\"", "name"),
            (Lines{"t.toml:17:8: listener.name: \"plain\" is taken by line 7, expected another name"}));
  EXPECT_EQ(in_listener("name = \"app\"", "name"), Lines{}) << "a listener and a group may share a name";
  EXPECT_EQ(mistakes(std::string(kRest) + std::string(kRest)).size(), 3u) << "two names and an address";
}

TEST(ConfigMistakes, Addresses) {
  const auto address = [](std::string_view value) {
    const Lines lines = in_listener("address = \"" + std::string(value) + "\"", "address");
    return lines.size() == 1 ? lines[0] : std::to_string(lines.size()) + " mistakes";
  };
  const std::string at = "t.toml:17:11: listener.address: ";
  const std::string right = R"(, expected an IP address and a port such as "192.0.2.1:443")";
  EXPECT_EQ(address("443"), at + R"("443" is not an IP address and names are not resolved)" + right);
  EXPECT_EQ(address(""), at + R"("" has no IP address)" + right);
  EXPECT_EQ(address(":443"), at + R"(":443" has no IP address)" + right);
  EXPECT_EQ(address("*:443"), at + R"("*" is not an IP address and names are not resolved)" + right);
  EXPECT_EQ(address("1.2.3:443"), at + R"("1.2.3" is not an IP address and names are not resolved)" + right);
  EXPECT_EQ(address("127.0.0.1"), at + R"("127.0.0.1" has no port)" + right);
  EXPECT_EQ(address("[::1]"), at + R"("[::1]" has no port)" + right);
  EXPECT_EQ(address("[::1]443"), at + R"("[::1]443" has no port)" + right);
  EXPECT_EQ(address("[::1:443"),
            at + R"("[::1:443" has no closing bracket, expected one such as "[2001:db8::1]:443")");
  EXPECT_EQ(
      address("::1:443"),
      at + R"("::1:443": an IPv6 address stands in brackets, expected one such as "[2001:db8::1]:443")");
  EXPECT_EQ(address("[1.2.3.4]:443"),
            at + R"("1.2.3.4" is not an IPv6 address, expected one such as "[2001:db8::1]:443")");
  EXPECT_EQ(address("[fe80::1%lo]:443"),
            at + R"("fe80::1%lo" is not an IPv6 address, expected one such as "[2001:db8::1]:443")");
  for (const std::string port : {"0", "65536", "-1", "+1", "http", "", "1 ", "99999999999999999999"}) {
    EXPECT_EQ(address("0.0.0.0:" + port),
              at + "\"0.0.0.0:" + port + "\": \"" + port + "\" is no port, expected 1 to 65535");
  }
  EXPECT_EQ(address("127.0.0.1:80"),
            at + "\"127.0.0.1:80\" is taken by line 9, expected another address or port");
  EXPECT_EQ(in_listener("address = 443", "address"), (Lines{at + "expected text in quotes, not a number"}));
}

TEST(ConfigMistakes, Targets) {
  const auto targets = [](std::string_view value) {
    return in_group("protocol = \"TCP\"\ntargets = " + std::string(value));
  };
  const std::string at = "t.toml:14:11: target_group.targets: ";
  const std::string example = R"(["192.0.2.1:8080", "[2001:db8::1]:8080", "app.internal:8080"])";
  EXPECT_EQ(targets("\"127.0.0.1:80\""), (Lines{at + "expected a list such as " + example + ", not text"}));
  EXPECT_EQ(
      targets("[\"db.1:80\"]"),
      (Lines{"t.toml:14:12: target_group.targets: \"db.1\" is not an IP address, and no host name ends in a "
             "number, expected an IP address or host name and a port such as \"192.0.2.1:443\" or "
             "\"app.internal:443\""}));
  EXPECT_EQ(targets("[\"0.0.0.0:80\"]"),
            (Lines{"t.toml:14:12: target_group.targets: \"0.0.0.0:80\" stands for every "
                   "address, expected that of one target"}));
  EXPECT_EQ(
      targets("[\n  \"[::1]:80\",\n  \"[0:0::1]:80\"]"),
      (Lines{
          "t.toml:16:3: target_group.targets: \"[0:0::1]:80\" is in the list already, at 15:3; expected each "
          "target once"}));
  EXPECT_EQ(targets("[\"192.0.2.1:80\", \"192.0.2.1:81\"]"), Lines{});
}

TEST(ConfigMistakes, Certificates) {
  const std::string example = R"({ chain = "web.pem", key = "web.key" })";
  EXPECT_EQ(
      in_listener("certificate = [" + example + "]", "certificate"),
      (Lines{"t.toml:17:15: listener.certificate: a TLS listener has exactly one certificate, expected " +
             example + ", not a list"}));
  EXPECT_EQ(in_listener("certificate = \"web.pem\"", "certificate"),
            (Lines{"t.toml:17:15: listener.certificate: expected " + example + ", not text"}));
  EXPECT_EQ(
      in_listener("certificate = { chain = \"\", key = \"k\\u0000\", password = \"x\" }", "certificate"),
      (Lines{"t.toml:17:25: listener.certificate.chain: \"\" is no path, expected that of a PEM file",
             "t.toml:17:35: listener.certificate.key: \"k\\x00\" is no path, expected that of a PEM file",
             "t.toml:17:46: listener.certificate.password: unknown key, known here are chain, key"}));
  EXPECT_EQ(
      in_listener("certificate_keys = \"ec\""),
      (Lines{
          "t.toml:17:20: listener.certificate_keys: \"ec\" is unknown, expected \"rsa-2048\" or \"any\""}));
}

TEST(ConfigMistakes, SecurityPolicies) {
  EXPECT_EQ(
      in_listener("ssl_policy = \"TLS-1-2-2017-1\""),
      (Lines{"t.toml:17:14: listener.ssl_policy: \"TLS-1-2-2017-1\" is no security policy, did you mean "
             "\"ELBSecurityPolicy-TLS-1-2-2017-01\"?"}));
  EXPECT_EQ(
      in_listener("ssl_policy = \"intermediate\""),
      (Lines{"t.toml:17:14: listener.ssl_policy: \"intermediate\" is no security policy, expected one that "
             "\"tlsplice describe-ssl-policies\" prints"}));
}

TEST(ConfigMistakes, TlsKeysOnATcpListener) {
  const std::string wrong = ": only for TLS listeners; remove it or set protocol = \"TLS\"";
  EXPECT_EQ(mistakes(std::string(kRest) + R"(certificate = { chain = "a", key = "b" }
certificate_keys = "any"
ssl_policy = "ELBSecurityPolicy-2016-08"
alpn_policy = "None"
handshake_timeout = "1s"
on_truncation = "fin"
)"),
            (Lines{
                "t.toml:11:15: listener.certificate" + wrong,
                "t.toml:12:20: listener.certificate_keys" + wrong,
                "t.toml:13:14: listener.ssl_policy" + wrong,
                "t.toml:14:15: listener.alpn_policy" + wrong,
                "t.toml:15:21: listener.handshake_timeout: only for TLS listeners, and TCP listeners with "
                "proxy_protocol; remove it or set protocol = \"TLS\"",
                "t.toml:16:17: listener.on_truncation: only where the listener or its target group is TLS; "
                "remove it",
            }));
}

TEST(ConfigMistakes, TimeoutsOutOfRange) {
  EXPECT_EQ(in_listener("tcp = { idle_timeout = \"6001s\" }"),
            (Lines{"t.toml:17:24: listener.tcp.idle_timeout: \"6001s\" is out of range, expected \"1s\" to "
                   "\"6000s\""}));
  EXPECT_EQ(in_listener("tcp = { idle_timeout = \"999ms\" }").size(), 1u);
  EXPECT_EQ(in_listener("relay = \"fast\""),
            (Lines{"t.toml:17:9: listener.relay: \"fast\" is unknown, expected \"auto\", \"splice\", "
                   "\"uring-splice\" or \"copy\""}));
  EXPECT_EQ(in_listener("relay_thresholds = { splice_from = \"65KiB\" }"),
            (Lines{"t.toml:17:36: listener.relay_thresholds.splice_from: \"65KiB\" is out of range, expected "
                   "\"1B\" to \"64KiB\""}));
  EXPECT_EQ(in_listener("relay = \"copy\"\nrelay_thresholds = { copy_below = \"1B\" }"),
            (Lines{"t.toml:18:20: listener.relay_thresholds: only with relay = \"auto\"; remove it"}));
  EXPECT_EQ(in_listener("tcp = \"350s\""),
            (Lines{"t.toml:17:7: listener.tcp: expected { idle_timeout = \"350s\" }, not text"}));
  EXPECT_EQ(in_listener("handshake_timeout = \"0s\""),
            (Lines{"t.toml:17:21: listener.handshake_timeout: \"0s\" is out of "
                   "range, expected \"1ms\" to \"3600s\""}));
  EXPECT_EQ(
      in_group("protocol = \"TCP\"\ntargets = [\"127.0.0.1:1\"]\nconnect_timeout = 10"),
      (Lines{"t.toml:15:19: target_group.connect_timeout: expected a duration in quotes such as \"10s\""}));
}

TEST(ConfigMistakes, ForwardToNoGroup) {
  const auto forward = [](std::string_view value) {
    return in_listener("default_action = { forward = " + std::string(value) + " }", "default_action");
  };
  EXPECT_EQ(
      forward("\"database\""),
      (Lines{"t.toml:17:30: listener.default_action.forward: no [[target_group]] is named \"database\""}));
  EXPECT_EQ(
      forward("[\"app\"]"),
      (Lines{"t.toml:17:31: listener.default_action.forward: expected { target_group = \"blue\", weight = 90 "
             "}, not text"}));
  EXPECT_EQ(in_listener("default_action = \"app\"", "default_action"),
            (Lines{"t.toml:17:18: listener.default_action: expected { forward = \"app\" }, not text"}));
}

TEST(ConfigMistakes, OneMistakeDoesNotMakeTwo) {
  EXPECT_EQ(mistakes(R"([[target_group]]
name = "app"
protocol = "HTTP"
targets = ["example.com"]
[[listener]]
name = "plain"
protocol = "TCP"
address = "127.0.0.1:80"
default_action = { forward = "app" }
on_truncation = "fin"
)")
                .size(),
            2u)
      << "the group is there to be named although it is wrong";
}

TEST(ConfigMistakes, FilesThatCannotBeRead) {
  const std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / ("m" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  const auto read = [](const std::filesystem::path& file) {
    return lines_of(file.filename(), read_config(file));
  };
  EXPECT_EQ(read(folder / "none.toml"), (Lines{"none.toml: cannot open: No such file or directory"}));
  EXPECT_EQ(lines_of("folder", read_config(folder)), (Lines{"folder: cannot read: Is a directory"}));
  std::ofstream(folder / "big.toml") << std::string((1 << 20) + 1, '#');
  EXPECT_EQ(read(folder / "big.toml"), (Lines{"big.toml: larger than 1 MiB, which no configuration is"}));
  std::ofstream(folder / "full.toml") << std::string(1 << 20, '#');
  EXPECT_EQ(read(folder / "full.toml"),
            (Lines{"full.toml: listener: missing, expected at least one [[listener]]"}));
  std::filesystem::remove_all(folder);
}

// toml++ walks tables by recursion: a key of very many parts must not reach it, however it is dressed.
TEST(ConfigMistakes, ADeepFileIsRefusedNotFollowed) {
  EXPECT_EQ(mistakes("a = " + std::string(100'000, '[')).size(), 1u);
  std::string deep = "a";
  for (int i = 0; i < 200'000; ++i) deep += ".a";
  const std::string wrong = ":1: more than 16 dots outside of strings, expected no such key";
  EXPECT_EQ(mistakes(deep + " = 1"), (Lines{"t.toml:1" + wrong}));
  EXPECT_EQ(mistakes("# a\n[" + deep + "]"), (Lines{"t.toml:2" + wrong}));
  EXPECT_EQ(mistakes("a = { b = \"\\\"\", " + deep + " = 1 }"), (Lines{"t.toml:1" + wrong}));
  EXPECT_EQ(mistakes("a = { b = \"\"\"\n\"\"\"\"\", " + deep + " = 1 }"), (Lines{"t.toml:2" + wrong}));
  EXPECT_EQ(mistakes("a = { b = '''\\''', " + deep + " = 1 }"), (Lines{"t.toml:1" + wrong}));
  EXPECT_EQ(mistakes("a = { b = '\\', c = '', " + deep + " = 1 }"), (Lines{"t.toml:1" + wrong}));
  EXPECT_EQ(mistakes("a = { \"b\".'c' = \"#\", " + deep + " = 1 }"), (Lines{"t.toml:1" + wrong}));
  EXPECT_EQ(top("# " + deep), Lines{});
}

}  // namespace
}  // namespace tlsplice::policy
