// Promised: `default_action` forwards to one group by its name, or to up to five of one protocol by weight;
// anything else is a mistake that names what would be right.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tlsplice/policy/config.hpp"

namespace tlsplice::policy {
namespace {

std::expected<Config, std::vector<Mistake>> with(const std::string& forward) {
  std::string text;
  for (const char* name : {"a", "b", "c", "d", "e", "f"}) {
    text += fmt::format("[[target_group]]\nname = \"{}\"\nprotocol = \"TCP\"\ntargets = []\n", name);
  }
  text += "[[target_group]]\nname = \"tls\"\nprotocol = \"TLS\"\ntargets = []\n";
  text += "[[listener]]\nname = \"web\"\nprotocol = \"TCP\"\naddress = \"127.0.0.1:80\"\n";
  return parse_config(text + "default_action = { forward = " + forward + " }", "t.toml");
}

std::string mistakes(const std::string& forward) {
  const auto config = with(forward);
  std::string out;
  if (config) return "none";
  for (const Mistake& mistake : config.error()) out += mistake.key + ": " + mistake.what + "\n";
  return out;
}

std::string share(std::string_view group, int weight) {
  return fmt::format(R"({{ target_group = "{}", weight = {} }}, )", group, weight);
}

TEST(ConfigForward, ANameOrAListOfShares) {
  EXPECT_EQ(with("\"b\"")->listeners[0].forward, (std::vector<Forward>{{.target_group = "b"}}));
  EXPECT_EQ(with("[" + share("a", 90) + share("b", 0) + share("c", 999) + "]")->listeners[0].forward,
            (std::vector<Forward>{{"a", 90}, {"b", 0}, {"c", 999}}));
  EXPECT_TRUE(with("[" + share("tls", 1) + "]").has_value());
}

TEST(ConfigForward, TellsMistakes) {
  const std::string forward = "listener.default_action.forward";
  EXPECT_EQ(mistakes("[]"),
            forward + ": expected at least one, such as [{ target_group = \"blue\", weight = 90 }]\n");
  EXPECT_EQ(mistakes("[" + share("a", 1) + share("a", 2) + "]"),
            forward + ".target_group: \"a\" is in the list already, expected each group once\n");
  EXPECT_EQ(mistakes("[" + share("a", 1000) + "]"),
            forward + ".weight: 1000 is out of range, expected 0 to 999\n");
  EXPECT_EQ(mistakes("[" + share("a", -1) + "]"),
            forward + ".weight: -1 is out of range, expected 0 to 999\n");
  EXPECT_EQ(mistakes(R"([{ target_group = "a" }])"),
            forward + ".weight: missing, expected a whole number from 0 to 999\n");
  EXPECT_EQ(mistakes("[{ weight = 1 }]"),
            forward + ".target_group: missing, expected the name of a target group\n");
  EXPECT_EQ(mistakes("[" + share("tlss", 1) + "]"),
            forward + ".target_group: no [[target_group]] is named \"tlss\", did you mean \"tls\"?\n");
  EXPECT_EQ(mistakes("[" + share("a", 1) + share("tls", 1) + "]"),
            forward +
                ".target_group: \"tls\" is a TLS group and those before it are TCP ones, expected groups of "
                "one protocol\n");
  std::string six;
  for (const char* name : {"a", "b", "c", "d", "e", "f"}) six += share(name, 1);
  EXPECT_EQ(mistakes("[" + six + "]"), forward + ": 6 target groups are too many, expected at most 5\n");
  EXPECT_EQ(mistakes("[\"a\"]"), forward + ": expected { target_group = \"blue\", weight = 90 }, not text\n");
  EXPECT_EQ(mistakes("[{ target_group = \"a\", weight = 1, wieght = 1 }]"),
            forward + ".wieght: unknown key, did you mean weight?\n");
}

}  // namespace
}  // namespace tlsplice::policy
