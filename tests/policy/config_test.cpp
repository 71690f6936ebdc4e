// Promised: a right file becomes exactly its values and the documented defaults; the same text always gives
// the same Config; certificate paths begin at the folder of the file. What is wrong is in
// config_mistakes_test.cpp.
#include "tlsplice/policy/config.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

namespace tlsplice::policy {
namespace {

// The example of the product, to the letter.
constexpr std::string_view kExample = R"(
workers = 2                                  # default: one per CPU

[[target_group]]
name = "app"
protocol = "TCP"                             # or "TLS": re-encrypted, always under ELBSecurityPolicy-2016-08
targets = ["127.0.0.1:8080", "127.0.0.1:8081"]

[[listener]]
name = "web"
protocol = "TLS"                             # or "TCP": no TLS, spliced
address = "0.0.0.0:443"
certificate = { chain = "web.pem", key = "web.key" }
ssl_policy = "ELBSecurityPolicy-2016-08"     # this is the default
default_action = { forward = "app" }
)";

constexpr std::string_view kEverything = R"(
workers = 1024
user = "nobody"
max_flows = 10_000_000
key_update_after = 64
drain_timeout = "0s"
steering = "cpu"
bpf_directory = "/run/bpf/one"

[log]
level = "debug"
format = "json"

[[listener]]
name = "web-1"
protocol = "TLS"
address = "[0:0::1]:65535"
certificate = { chain = "/etc/tls/web.pem", key = "keys/web.key" }
certificate_keys = "any"
ssl_policy = "ELBSecurityPolicy-TLS13-1-2-2021-06"
alpn_policy = "HTTP2Preferred"
default_action = { forward = "app" }
handshake_timeout = "1500ms"
tcp = { idle_timeout = "1s" }
relay = "uring-splice"
on_truncation = "fin"

[[listener]]
name = "plain"
protocol = "TCP"
address = "[::]:1"
default_action.forward = "app"
tcp.idle_timeout = "6000s"
relay = "auto"
relay_thresholds = { splice_from = "1000B", copy_below = "0B" }

[[target_group]]
name = "app"
protocol = "TLS"
targets = ["192.0.2.1:8080", "[2001:DB8:0::1]:8443"]
connect_timeout = "1h"
)";

Config right(std::string_view text, const std::filesystem::path& file = "etc/t.toml") {
  auto config = parse_config(text, file);
  if (config) return *std::move(config);
  for (const Mistake& mistake : config.error()) ADD_FAILURE() << to_string(file, mistake);
  return {};
}

TEST(Config, TheExampleHasTheDocumentedDefaults) {
  const Config config = right(kExample);
  EXPECT_EQ(config.file, "etc/t.toml");
  EXPECT_EQ(config.workers, 2u);
  EXPECT_EQ(config.user, "");
  EXPECT_EQ(config.max_flows, 100'000u);
  EXPECT_EQ(config.key_update_after, 16'777'216u);
  EXPECT_EQ(config.drain_timeout, Milliseconds(30'000));
  EXPECT_EQ(config.steering, Steering::kLeastLoaded);
  EXPECT_EQ(config.bpf_directory, "/sys/fs/bpf/tlsplice");
  EXPECT_EQ(config.log.level, base::LogLevel::kInfo);
  EXPECT_EQ(config.log.format, base::LogFormat::kLogfmt);

  ASSERT_EQ(config.target_groups.size(), 1u);
  const TargetGroup& group = config.target_groups[0];
  EXPECT_EQ(group.name, "app");
  EXPECT_EQ(group.protocol, Protocol::kTcp);
  EXPECT_EQ(group.targets, (std::vector<HostPort>{{"127.0.0.1", 8080}, {"127.0.0.1", 8081}}));
  EXPECT_EQ(group.connect_timeout, Milliseconds(10'000));
  EXPECT_EQ(group.place, (Place{4, 1}));

  ASSERT_EQ(config.listeners.size(), 1u);
  const Listener& listener = config.listeners[0];
  EXPECT_EQ(listener.name, "web");
  EXPECT_EQ(listener.protocol, Protocol::kTls);
  EXPECT_EQ(listener.address, (HostPort{"0.0.0.0", 443}));
  EXPECT_EQ(listener.certificate_keys, CertificateKeys::kDocument);
  EXPECT_EQ(listener.ssl_policy, "ELBSecurityPolicy-2016-08");
  EXPECT_EQ(listener.alpn_policy, AlpnPolicy::kNone);
  EXPECT_EQ(listener.forward, (std::vector<Forward>{{.target_group = "app"}}));
  EXPECT_EQ(listener.handshake_timeout, Milliseconds(10'000));
  EXPECT_EQ(listener.idle_timeout, Milliseconds(350'000));
  EXPECT_EQ(listener.on_truncation, OnTruncation::kReset);
  EXPECT_EQ(listener.relay, Relay::kAuto);
  EXPECT_EQ(listener.splice_from, 65'536u);
  EXPECT_EQ(listener.copy_below, 16'384u);
  EXPECT_EQ(listener.place, (Place{9, 1}));
  EXPECT_EQ(listener.certificate.place, (Place{13, 15}));
  EXPECT_EQ(listener.ssl_policy_place, (Place{14, 14}));
}

TEST(Config, EverythingThatCanBeSet) {
  const Config config = right(kEverything);
  EXPECT_EQ(config.workers, 1024u);
  EXPECT_EQ(config.user, "nobody");
  EXPECT_EQ(config.max_flows, 10'000'000u);
  EXPECT_EQ(config.key_update_after, 64u);
  EXPECT_EQ(config.drain_timeout, Milliseconds(0));
  EXPECT_EQ(config.steering, Steering::kCpu);
  EXPECT_EQ(config.bpf_directory, "/run/bpf/one");
  EXPECT_EQ(config.log.level, base::LogLevel::kDebug);
  EXPECT_EQ(config.log.format, base::LogFormat::kJson);

  ASSERT_EQ(config.listeners.size(), 2u);
  const Listener& web = config.listeners[0];
  EXPECT_EQ(web.address, (HostPort{"::1", 65535})) << "addresses are spelled canonically";
  EXPECT_EQ(web.certificate_keys, CertificateKeys::kAny);
  EXPECT_EQ(web.ssl_policy, "ELBSecurityPolicy-TLS13-1-2-2021-06");
  EXPECT_EQ(web.alpn_policy, AlpnPolicy::kHttp2Preferred);
  EXPECT_EQ(web.handshake_timeout, Milliseconds(1'500));
  EXPECT_EQ(web.idle_timeout, Milliseconds(1'000));
  EXPECT_EQ(web.on_truncation, OnTruncation::kFin);
  EXPECT_EQ(web.relay, Relay::kUringSplice);
  const Listener& plain = config.listeners[1];
  EXPECT_EQ(plain.protocol, Protocol::kTcp);
  EXPECT_EQ(plain.forward, (std::vector<Forward>{{.target_group = "app"}}))
      << "a dotted key is as good as a table, and a group may stand behind its listener";
  EXPECT_EQ(plain.idle_timeout, Milliseconds(6'000'000));
  EXPECT_EQ(plain.splice_from, 1'000u);
  EXPECT_EQ(plain.copy_below, 0u);

  ASSERT_EQ(config.target_groups.size(), 1u);
  EXPECT_EQ(config.target_groups[0].protocol, Protocol::kTls);
  EXPECT_EQ(config.target_groups[0].targets[1], (HostPort{"2001:db8::1", 8443}));
  EXPECT_EQ(config.target_groups[0].connect_timeout, Milliseconds(3'600'000));
}

TEST(Config, CertificatePathsBeginAtTheFolderOfTheFile) {
  const Certificate beside = right(kExample, "etc/tlsplice/t.toml").listeners[0].certificate;
  EXPECT_EQ(beside.chain, "etc/tlsplice/web.pem");
  EXPECT_EQ(beside.key, "etc/tlsplice/web.key");
  EXPECT_EQ(right(kExample, "/srv/t.toml").listeners[0].certificate.chain, "/srv/web.pem");
  EXPECT_EQ(right(kExample, "t.toml").listeners[0].certificate.chain, "web.pem");
  const Certificate absolute = right(kEverything, "/srv/t.toml").listeners[0].certificate;
  EXPECT_EQ(absolute.chain, "/etc/tls/web.pem");
  EXPECT_EQ(absolute.key, "/srv/keys/web.key");
}

TEST(Config, TwoListenersMayShareAPort) {
  std::string text(kExample);
  text += R"([[listener]]
name = "loopback"
protocol = "TCP"
address = "127.0.0.1:443"
default_action = { forward = "app" }
)";
  EXPECT_EQ(right(text).listeners.size(), 2u) << "the kernel takes the more specific address";
}

TEST(Config, OnTruncationIsForAnySideThatIsTls) {
  std::string text(kEverything);
  text.insert(text.find("default_action.forward"), "on_truncation = \"fin\"\n");
  EXPECT_EQ(right(text).listeners[1].on_truncation, OnTruncation::kFin);
}

TEST(Config, FindsAGroupByName) {
  const Config config = right(kExample);
  EXPECT_EQ(config.target_group("app"), &config.target_groups[0]);
  EXPECT_EQ(config.target_group("ap"), nullptr);
  EXPECT_EQ(config.target_group(""), nullptr);
}

TEST(Config, AnAddressAndAProtocolAsText) {
  EXPECT_EQ(to_string(HostPort{"192.0.2.1", 443}), "192.0.2.1:443");
  EXPECT_EQ(to_string(HostPort{"2001:db8::1", 443}), "[2001:db8::1]:443");
  EXPECT_STREQ(to_string(Protocol::kTcp), "TCP");
  EXPECT_STREQ(to_string(Protocol::kTls), "TLS");
}

TEST(Config, IsReadFromAFile) {
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / std::to_string(getpid());
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "t.toml") << kExample;
  const auto config = read_config(folder / "t.toml");
  ASSERT_TRUE(config.has_value());
  EXPECT_EQ(config->listeners[0].certificate.key, folder / "web.key");
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace tlsplice::policy
