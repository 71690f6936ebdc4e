// Promised: `steering` takes its three words and `bpf_directory` an absolute path that bpffs can have;
// anything else is a mistake that names what would be right.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "minimal.hpp"
#include "tlsplice/policy/config.hpp"

namespace tlsplice::policy {
namespace {

std::expected<Config, std::vector<Mistake>> with(const std::string& line) {
  return parse_config(line + std::string(kRest), "t.toml");
}

std::string mistake(const std::string& line) {
  const auto config = with(line);
  return config ? "none" : to_string("t.toml", config.error().at(0));
}

TEST(ConfigSteering, HasThreeWords) {
  for (const Steering steering : {Steering::kLeastLoaded, Steering::kCpu, Steering::kHash}) {
    const auto config = with(fmt::format("steering = \"{}\"", to_string(steering)));
    ASSERT_TRUE(config.has_value());
    EXPECT_EQ(config->steering, steering);
  }
  EXPECT_EQ(
      mistake("steering = \"round-robin\""),
      "t.toml:1:12: steering: \"round-robin\" is unknown, expected \"least-loaded\", \"cpu\" or \"hash\"");
}

TEST(ConfigSteering, TheDirectoryIsOneThatBpffsCanHave) {
  EXPECT_EQ(with("bpf_directory = \"/run/bpf/one\"")->bpf_directory, "/run/bpf/one");
  for (const std::string path : {"", "/", "tlsplice", "/sys/fs/bpf/", "/sys/fs/bpf/a.b"}) {
    EXPECT_EQ(mistake("bpf_directory = \"" + path + "\""),
              "t.toml:1:17: bpf_directory: \"" + path +
                  "\" is no directory of bpffs, expected one such as \"/sys/fs/bpf/tlsplice\"");
  }
}

}  // namespace
}  // namespace tlsplice::policy
