// Promised: a listener's `proxy_protocol` names the networks whose connections begin with a header, and what
// is no network, or not one that is meant, is a mistake that says so.
#include <gtest/gtest.h>

#include "minimal.hpp"
#include "tlsplice/policy/config.hpp"

namespace tlsplice::policy {
namespace {

std::expected<Config, std::vector<Mistake>> with(const std::string& line) {
  return parse_config(std::string(kRest) + line, "t.toml");
}

std::vector<Network> read(const std::string& line) {
  const auto config = with(line);
  EXPECT_TRUE(config.has_value()) << line << ": " << to_string("t.toml", config.error().at(0));
  return config ? config->listeners.at(0).proxy_protocol_from : std::vector<Network>{};
}

std::string mistakes(const std::string& line) {
  std::string out;
  const auto config = with(line);
  if (config) return "none";
  for (const Mistake& mistake : config.error()) out += to_string("t.toml", mistake) + "\n";
  return out;
}

TEST(ConfigAcceptFrom, HasNobodyByDefault) {
  EXPECT_TRUE(read("").empty());
}

TEST(ConfigAcceptFrom, HasNetworksAndAddresses) {
  EXPECT_EQ(read("proxy_protocol = { accept_from = [\"10.0.0.0/8\", \"192.0.2.1\", \"2001:DB8::/32\", "
                 "\"::1\", \"0.0.0.0/0\"] }"),
            (std::vector<Network>{
                {"10.0.0.0", 8}, {"192.0.2.1", 32}, {"2001:db8::", 32}, {"::1", 128}, {"0.0.0.0", 0}}));
}

TEST(ConfigAcceptFrom, HasALimitAlsoOnATcpListener) {
  const std::string trust = "proxy_protocol = { accept_from = [\"192.0.2.1\"] }\n";
  const auto config = with(trust + "handshake_timeout = \"1500ms\"");
  ASSERT_TRUE(config.has_value()) << to_string("t.toml", config.error().at(0));
  EXPECT_EQ(config->listeners.at(0).handshake_timeout, Milliseconds(1'500));
  EXPECT_EQ(with(trust)->listeners.at(0).handshake_timeout, kDefaultHandshakeTimeout);
  EXPECT_EQ(mistakes(trust + "handshake_timeout = \"0s\""),
            "t.toml:12:21: listener.handshake_timeout: \"0s\" is out of range, expected \"1ms\" to "
            "\"3600s\"\n");
}

TEST(ConfigAcceptFrom, TellsMistakes) {
  const std::string such = ", expected one such as \"10.0.0.0/8\" or \"2001:db8::/32\"\n";
  const auto said = [](const std::string& network) {
    return mistakes("proxy_protocol = { accept_from = [\"" + network + "\"] }");
  };
  const std::string at = "t.toml:11:35: listener.proxy_protocol.accept_from: ";
  EXPECT_EQ(said("10.0.0.0/33"), at + "\"10.0.0.0/33\" has no prefix of 0 to 32 bits" + such);
  EXPECT_EQ(said("10.0.0.0/"), at + "\"10.0.0.0/\" has no prefix of 0 to 32 bits" + such);
  EXPECT_EQ(said("::/129"), at + "\"::/129\" has no prefix of 0 to 128 bits" + such);
  EXPECT_EQ(said("10.1.0.0/8"), at + "\"10.1.0.0/8\" has other bits than the first 8 in its address" + such);
  EXPECT_EQ(said("proxy.example/8"), at + "\"proxy.example/8\" is no network" + such);
  EXPECT_EQ(said(""), at + "\"\" is no network" + such);
  EXPECT_EQ(mistakes("proxy_protocol = { accept_from = [\"::1\", \"::1/128\"] }"),
            "t.toml:11:42: listener.proxy_protocol.accept_from: \"::1/128\" is in the list already, expected "
            "each once\n");
  EXPECT_EQ(mistakes("proxy_protocol = { from = [] }"),
            "t.toml:11:18: listener.proxy_protocol.accept_from: missing, expected [\"10.0.0.0/8\", "
            "\"2001:db8::/32\"]\n"
            "t.toml:11:20: listener.proxy_protocol.from: unknown key, known here are accept_from\n");
}

}  // namespace
}  // namespace tlsplice::policy
