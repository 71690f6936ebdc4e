// Promised: there is no access log unless the file asks for one; then it is where the file says, in the
// document's format unless told otherwise, and what cannot be one is a mistake that names what could.
#include <gtest/gtest.h>
#include <unistd.h>

#include <climits>

#include "minimal.hpp"
#include "tlsplice/policy/config.hpp"

namespace tlsplice::policy {
namespace {

std::expected<Config, std::vector<Mistake>> with(const std::string& keys) {
  return parse_config("[access_log]\n" + keys + "\n" + std::string(kRest), "/etc/tlsplice/t.toml");
}

std::string mistake(const std::string& keys) {
  const auto config = with(keys);
  return config ? "none" : to_string("t.toml", config.error().at(0));
}

TEST(ConfigAccessLog, IsOffUnlessAskedFor) {
  const auto config = parse_config(kRest, "t.toml");
  ASSERT_TRUE(config.has_value());
  EXPECT_EQ(config->access_log.file, "");
  EXPECT_EQ(with("file = \"off\"")->access_log.file, "");
}

TEST(ConfigAccessLog, IsInTheDocumentsFormatByDefault) {
  const AccessLogSettings settings = with("file = \"/var/log/tlsplice/access.log\"").value().access_log;
  EXPECT_EQ(settings.file, "/var/log/tlsplice/access.log");
  EXPECT_EQ(settings.format, AccessLogFormat::kVersion1);
  EXPECT_EQ(settings.load_balancer, "");
  char host[HOST_NAME_MAX + 1] = "";
  ASSERT_EQ(::gethostname(host, sizeof host), 0);
  EXPECT_EQ(load_balancer_of({}), std::string("net/") + host + "/0000000000000000");
}

TEST(ConfigAccessLog, TakesEveryFormat) {
  for (const auto& [word, format] :
       std::vector<std::pair<std::string, AccessLogFormat>>{{"1.0", AccessLogFormat::kVersion1},
                                                            {"2.0", AccessLogFormat::kVersion2},
                                                            {"json", AccessLogFormat::kJson}}) {
    EXPECT_EQ(with("file = \"stdout\"\nformat = \"" + word + "\"").value().access_log.format, format);
  }
}

TEST(ConfigAccessLog, TakesStdoutAndPathsFromTheFilesFolderOn) {
  EXPECT_EQ(with("file = \"stdout\"").value().access_log.file, "stdout");
  EXPECT_EQ(with("file = \"logs/access.log\"").value().access_log.file, "/etc/tlsplice/logs/access.log");
}

TEST(ConfigAccessLog, TakesTheIdOfALoadBalancer) {
  const auto config = with("file = \"stdout\"\nload_balancer = \"net/web/50dc6c495c0c9188\"");
  ASSERT_TRUE(config.has_value());
  EXPECT_EQ(config->access_log.load_balancer, "net/web/50dc6c495c0c9188");
  EXPECT_EQ(load_balancer_of(*config), "net/web/50dc6c495c0c9188");
}

constexpr const char* kWeb = R"([[listener]]
name = "web"
protocol = "TLS"
address = "127.0.0.1:443"
certificate = { chain = "web.pem", key = "web.key" }
default_action = { forward = "app" }
)";

/// A TCP and a TLS listener, each with this line.
std::expected<Config, std::vector<Mistake>> both_with(const std::string& line,
                                                      const std::string& first = "") {
  return parse_config(first + std::string(kRest) + line + "\n" + kWeb + line + "\n", "t.toml");
}

TEST(ConfigAccessLog, HasLinesOfTlsListenersUnlessToldOtherwise) {
  const std::string off = "[access_log]\nfile = \"off\"";
  for (const auto& [line, plain, web] : std::vector<std::tuple<std::string, bool, bool>>{
           {"", false, true}, {"access_log = true", true, true}, {"access_log = false", false, false}}) {
    const auto config = both_with(line, off);
    ASSERT_TRUE(config.has_value()) << line;
    EXPECT_EQ(config->listeners.at(0).access_log, plain) << line;
    EXPECT_EQ(config->listeners.at(1).access_log, web) << line;
  }
}

TEST(ConfigAccessLog, IsNotAskedForWithoutAPlace) {
  EXPECT_TRUE(both_with("access_log = false").has_value());
  const auto config = both_with("access_log = true");
  ASSERT_FALSE(config.has_value());
  const std::string wrong =
      ": listener.access_log: true, but there is no [access_log] that says where to; add it or remove this";
  ASSERT_EQ(config.error().size(), 2u);
  EXPECT_EQ(to_string("t.toml", config.error()[0]), "t.toml:11:14" + wrong);
  EXPECT_EQ(to_string("t.toml", config.error()[1]), "t.toml:18:14" + wrong);
}

TEST(ConfigAccessLog, AMistakeNamesWhatWouldBeRight) {
  EXPECT_EQ(mistake(""),
            "t.toml:1:1: access_log.file: missing, expected a path such as "
            "\"/var/log/tlsplice/access.log\", or \"stdout\", or \"off\"");
  for (const std::string path : {"", "/var/log/"}) {
    EXPECT_EQ(mistake("file = \"" + path + "\""),
              "t.toml:2:8: access_log.file: \"" + path +
                  "\" is no place for a log, expected a path such as \"/var/log/tlsplice/access.log\", or "
                  "\"stdout\", or \"off\"");
  }
  EXPECT_EQ(mistake("file = \"stdout\"\nformat = \"3.0\""),
            "t.toml:3:10: access_log.format: \"3.0\" is unknown, expected \"1.0\", \"2.0\" or \"json\"");
  for (const std::string name : {"", "-", "two words", "ü"}) {
    EXPECT_EQ(mistake("file = \"stdout\"\nload_balancer = \"" + name + "\""),
              "t.toml:3:17: access_log.load_balancer: \"" + name +
                  "\" is no load balancer's id, expected 1 to 128 letters, digits and -._:/ such as "
                  "\"net/my-load-balancer/50dc6c495c0c9188\"");
  }
  EXPECT_EQ(mistake("file = \"stdout\"\nfromat = \"2.0\""),
            "t.toml:3:1: access_log.fromat: unknown key, did you mean format?");
}

}  // namespace
}  // namespace tlsplice::policy
