// Promised: [admin] socket is an absolute path that a Unix socket can have, or "off"; anything else is a
// mistake that says so. Left out, it is the default, and known to be.
#include <gtest/gtest.h>

#include "minimal.hpp"
#include "tlsplice/policy/config.hpp"

namespace tlsplice::policy {
namespace {

std::expected<Config, std::vector<Mistake>> with(const std::string& socket) {
  return parse_config("[admin]\nsocket = \"" + socket + "\"\n" + std::string(kRest), "t.toml");
}

TEST(AdminSettings, HaveADefault) {
  const auto config = parse_config(kRest, "t.toml");
  EXPECT_EQ(config->admin.socket, kDefaultAdminSocket);
  EXPECT_TRUE(config->admin.is_default);
}

TEST(AdminSettings, TakeAPathOrOff) {
  const auto config = with("/run/one/admin");
  EXPECT_EQ(config->admin.socket, "/run/one/admin");
  EXPECT_FALSE(config->admin.is_default);
  EXPECT_EQ(with("off")->admin.socket, "");
  EXPECT_EQ(with('/' + std::string(106, 'a'))->admin.socket.size(), 107u);
}

TEST(AdminSettings, RefuseWhatNoSocketCanHave) {
  for (const std::string& path : {std::string("admin.sock"), std::string(), '/' + std::string(107, 'a')}) {
    const auto config = with(path);
    ASSERT_FALSE(config) << path;
    ASSERT_EQ(config.error().size(), 1u);
    const std::string said = to_string("t.toml", config.error().front());
    EXPECT_TRUE(said.starts_with("t.toml:2:10: admin.socket: \"")) << said;
    EXPECT_TRUE(
        said.ends_with("is no place for a socket, expected an absolute path of at most 107 bytes such as "
                       "\"/run/tlsplice/admin.sock\", or \"off\""))
        << said;
  }
}

}  // namespace
}  // namespace tlsplice::policy
