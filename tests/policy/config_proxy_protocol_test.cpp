// Promised: a target group's `proxy_protocol_v2` has the load balancer's keys and defaults, and anything else
// is a mistake that names what would be right.
#include <gtest/gtest.h>

#include "minimal.hpp"
#include "tlsplice/policy/config.hpp"

namespace tlsplice::policy {
namespace {

/// The line becomes the last one of the target group: line 6 of the file.
std::expected<Config, std::vector<Mistake>> with(const std::string& line) {
  std::string text(kRest);
  text.insert(text.find("[[listener]]"), line + "\n");
  return parse_config(text, "t.toml");
}

ProxyProtocol read(const std::string& line) {
  const auto config = with(line);
  EXPECT_TRUE(config.has_value()) << line << ": " << to_string("t.toml", config.error().at(0));
  return config ? config->target_groups.at(0).proxy_protocol_v2 : ProxyProtocol{};
}

std::string mistakes(const std::string& line) {
  std::string out;
  const auto config = with(line);
  if (config) return "none";
  for (const Mistake& mistake : config.error()) out += to_string("t.toml", mistake) + "\n";
  return out;
}

TEST(ConfigProxyProtocol, IsOffByDefault) {
  EXPECT_EQ(read(""), ProxyProtocol{});
  EXPECT_FALSE(ProxyProtocol{}.enabled);
  EXPECT_EQ(ProxyProtocol{}.placement, HeaderPlacement::kOnFirstAckWithPayload);
  EXPECT_FALSE(read("proxy_protocol_v2 = { enabled = false }").enabled);
}

TEST(ConfigProxyProtocol, HasTheLoadBalancersKeys) {
  EXPECT_EQ(read("proxy_protocol_v2 = { enabled = true }"), ProxyProtocol{.enabled = true});
  const ProxyProtocol at_once{.enabled = true, .placement = HeaderPlacement::kOnFirstAck};
  EXPECT_EQ(read("proxy_protocol_v2 = { enabled = true, client_to_server = { header_placement = "
                 "\"on_first_ack\" } }"),
            at_once);
  EXPECT_EQ(read("proxy_protocol_v2.enabled = true\n"
                 "proxy_protocol_v2.client_to_server.header_placement = \"on_first_ack\""),
            at_once);
  EXPECT_EQ(read("proxy_protocol_v2 = { enabled = true, client_to_server.header_placement = "
                 "\"on_first_ack_with_payload\" }"),
            ProxyProtocol{.enabled = true});
}

TEST(ConfigProxyProtocol, HasTlvs) {
  EXPECT_EQ(read("proxy_protocol_v2 = { enabled = true, tlvs = [\"ssl\"] }"),
            (ProxyProtocol{.enabled = true, .ssl = true}));
  EXPECT_EQ(read("proxy_protocol_v2 = { enabled = true, tlvs = [\"authority\", \"ssl\"] }"),
            (ProxyProtocol{.enabled = true, .authority = true, .ssl = true}));
  EXPECT_EQ(read("proxy_protocol_v2 = { enabled = true, tlvs = [\"alpn\"] }"),
            (ProxyProtocol{.enabled = true, .alpn = true}));
}

TEST(ConfigProxyProtocol, TellsMistakes) {
  EXPECT_EQ(mistakes("proxy_protocol_v2 = true"),
            "t.toml:6:21: target_group.proxy_protocol_v2: expected { enabled = true }, not true or false\n");
  EXPECT_EQ(mistakes("proxy_protocol_v2 = { tlvs = [\"ssl\"] }"),
            "t.toml:6:21: target_group.proxy_protocol_v2.enabled: missing, expected true or false\n");
  EXPECT_EQ(
      mistakes("proxy_protocol_v2 = { enabled = \"true\" }"),
      "t.toml:6:33: target_group.proxy_protocol_v2.enabled: expected true or false, without quotes, not "
      "text\n");
  EXPECT_EQ(mistakes("proxy_protocol_v2 = { enable = true }"),
            "t.toml:6:21: target_group.proxy_protocol_v2.enabled: missing, expected true or false\n"
            "t.toml:6:23: target_group.proxy_protocol_v2.enable: unknown key, did you mean enabled?\n");
  EXPECT_EQ(
      mistakes(
          "proxy_protocol_v2 = { enabled = true, client_to_server = { header_placement = \"at_once\" } }"),
      "t.toml:6:79: target_group.proxy_protocol_v2.client_to_server.header_placement: \"at_once\" is "
      "unknown, expected \"on_first_ack_with_payload\" or \"on_first_ack\"\n");
  EXPECT_EQ(mistakes("proxy_protocol_v2 = { enabled = true, tlvs = [\"ssl\", \"sni\", \"ssl\"] }"),
            "t.toml:6:54: target_group.proxy_protocol_v2.tlvs: \"sni\" is unknown, expected \"authority\", "
            "\"ssl\" or \"alpn\"\n"
            "t.toml:6:61: target_group.proxy_protocol_v2.tlvs: \"ssl\" is in the list already, expected it "
            "once\n");
  EXPECT_EQ(
      mistakes("proxy_protocol_v2 = { enabled = true, tlvs = [] }"),
      "t.toml:6:46: target_group.proxy_protocol_v2.tlvs: expected at least one, such as [\"authority\", "
      "\"ssl\", \"alpn\"]\n");
}

}  // namespace
}  // namespace tlsplice::policy
