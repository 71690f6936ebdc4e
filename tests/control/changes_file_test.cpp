// Promised: changes come back from their file as they were written; a file that cannot be right, however
// hostile, says what is wrong with it; a write that fails or is given up leaves the old file as it was.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "../base/child.hpp"
#include "configured.hpp"
#include "tlsplice/control/changes.hpp"
#include "tlsplice/control/load.hpp"

namespace tlsplice::control {
namespace {

Changes some() {
  Changes changes;
  changes.listeners["web"] = {.ssl_policy = "ELBSecurityPolicy-2015-05",
                              .alpn_policy = "HTTP1Only",
                              .certificate = {{"/new \"one\".pem", "/n\u00e9w.key"}},
                              .forward = to("secure")};
  changes.target_groups["app"] = {.registered = {target("192.0.2.3"), target("2001:db8::1", 1)},
                                  .deregistered = {target("192.0.2.2")},
                                  .attributes = {{"deregistration_delay.timeout_seconds", "30"}}};
  return changes;
}

std::string wrong(std::string_view text) {
  const auto changes = parse_changes(text);
  if (changes) return "nothing";
  std::string out;
  for (const Objection& objection : changes.error()) out += to_string(objection) + "\n";
  return out;
}

std::string text_of(const std::filesystem::path& file) {
  std::ifstream stream(file);
  return {std::istreambuf_iterator<char>(stream), {}};
}

class ChangesFile : public testing::Test {
 protected:
  ChangesFile() {
    char name[] = "/tmp/tlsplice-changes-XXXXXX";
    folder_ = ::mkdtemp(name);
    config_ = folder_ / "t.toml";
    file_ = changes_file(config_);
    std::ofstream(config_) << kConfigured;
  }
  ~ChangesFile() override { std::filesystem::remove_all(folder_); }

  void write(const Changes& changes) const {
    auto staged = StagedChanges::write(file_, changes);
    ASSERT_TRUE(staged) << staged.error().text();
    const auto kept = staged->commit();
    ASSERT_TRUE(kept) << kept.error().text();
  }

  std::size_t files() const {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator(folder_), std::filesystem::directory_iterator()));
  }

  std::filesystem::path folder_, config_, file_;
};

TEST_F(ChangesFile, HasOneGroupByItsNameAndSeveralByTheirWeights) {
  const auto of = [](const std::string& forward) {
    return parse_changes(R"({"listeners": {"web": {"default_action": {"forward": )" + forward + "}}}}");
  };
  EXPECT_EQ(of(R"("app")")->listeners.at("web").forward, to("app")) << "as files of before have it";
  const auto shares = of(R"([{"target_group": "app", "weight": 90}, {"target_group": "b", "weight": 0}])");
  ASSERT_TRUE(shares);
  EXPECT_EQ(shares->listeners.at("web").forward, (std::vector<policy::Forward>{{"app", 90}, {"b", 0}}));
  EXPECT_EQ(parse_changes(format_changes(*shares)), *shares);
  EXPECT_NE(format_changes(*of(R"("app")")).find(R"("forward": "app")"), std::string::npos);
  // Of one group alone the weight means nothing, but it is what was asked for.
  const auto heavy = of(R"([{"target_group": "app", "weight": 7}])");
  EXPECT_EQ(parse_changes(format_changes(*heavy)), *heavy);
}

TEST_F(ChangesFile, TellsWhatIsWrongWithWeights) {
  const auto wrong_forward = [](const std::string& forward) {
    return wrong(R"({"listeners": {"web": {"default_action": {)" + forward + "}}}}");
  };
  const std::string at = "listeners.web.default_action.forward";
  const std::string range = "expected a whole number from 0 to 999\n";
  EXPECT_EQ(wrong_forward(""), at + ": missing, expected the name of a target group\n");
  EXPECT_EQ(wrong_forward(R"("forward": 7)"), at + ": expected text in quotes\n");
  EXPECT_EQ(wrong_forward(R"("forward": [])"), at + ": expected a list of one JSON object or more\n");
  EXPECT_EQ(wrong_forward(R"("forward": ["app"])"), at + ": expected JSON objects in it\n");
  EXPECT_EQ(wrong_forward(R"("forward": [{"target_group": "app"}, {"weight": 1, "x": 1}])"),
            at + ".weight: missing, " + range + at +
                ".target_group: missing, expected the name of a target group\n" + at +
                ".x: unknown, known here are target_group, weight\n");
  for (const char* const weight : {"-1", "1000", "1.5", "\"1\"", "18446744073709551615", "null", "[]"}) {
    EXPECT_EQ(wrong_forward(R"("forward": [{"target_group": "app", "weight": )" + std::string(weight) + "}]"),
              at + ".weight: " + range)
        << weight;
  }
}

TEST_F(ChangesFile, ComesBackAsItWasWritten) {
  EXPECT_EQ(parse_changes(format_changes(some())).value(), some());
  EXPECT_EQ(parse_changes(format_changes({})).value(), Changes{});
  EXPECT_EQ(read_changes(file_).value(), Changes{}) << "no file is no changes";
  write(some());
  EXPECT_EQ(read_changes(file_).value(), some());
  EXPECT_EQ(text_of(file_), format_changes(some()));
  write({});
  EXPECT_FALSE(std::filesystem::exists(file_)) << "no changes are no file";
  EXPECT_EQ(files(), 1u);
}

TEST_F(ChangesFile, IsAsItWasUntilTheNewOneIsWhole) {
  write(some());
  Changes other = some();
  other.listeners.clear();
  {
    const auto staged = StagedChanges::write(file_, other);
    ASSERT_TRUE(staged);
    EXPECT_EQ(read_changes(file_).value(), some());
  }
  EXPECT_EQ(read_changes(file_).value(), some());
  EXPECT_EQ(files(), 2u) << "what was given up is gone";
  std::filesystem::create_directory(file_.string() + ".new");  // a name that cannot be written
  const auto staged = StagedChanges::write(file_, other);
  ASSERT_FALSE(staged);
  EXPECT_NE(staged.error().text().find(file_.string() + ".new"), std::string::npos);
  EXPECT_EQ(read_changes(file_).value(), some());
}

/// "skip" where it cannot be done.
std::string make_read_only(const std::filesystem::path& folder) {
  const char* const path = folder.c_str();
  const bool done = ::unshare(CLONE_NEWNS) == 0 &&
                    ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                    ::mount(path, path, nullptr, MS_BIND, nullptr) == 0 &&
                    ::mount(nullptr, path, nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr) == 0;
  return done ? "" : "skip";
}

TEST_F(ChangesFile, IsNotTouchedWhenItIsAsItShouldBe) {
  const auto write_there = [&](const Changes& changes) {
    return tests::in_child([&]() -> std::string {
      if (std::string why = make_read_only(folder_); !why.empty()) return why;
      auto staged = StagedChanges::write(file_, changes);
      if (!staged) return staged.error().text();
      const auto kept = staged->commit();
      return kept ? "" : kept.error().text();
    });
  };
  const std::string said = write_there({});
  if (said == "skip") GTEST_SKIP() << "no file system can be made read-only here";
  EXPECT_EQ(said, "");
  write(some());
  EXPECT_EQ(write_there(some()), "");
  EXPECT_EQ(write_there({}), "remove " + file_.string() + ": Read-only file system");
}

TEST_F(ChangesFile, FollowsNoLinkSomebodyLaid) {
  const auto victim = folder_ / "victim";
  std::ofstream(victim) << "untouched";
  std::filesystem::create_symlink(victim, file_.string() + ".new");
  EXPECT_FALSE(StagedChanges::write(file_, some()));
  EXPECT_EQ(text_of(victim), "untouched");
}

TEST_F(ChangesFile, TellsWhatIsWrong) {
  EXPECT_EQ(wrong(""), "not valid JSON\n");
  EXPECT_EQ(wrong("[]"), "expected a JSON object\n");
  EXPECT_EQ(wrong("{\"listeners\": {}} {}"), "not valid JSON\n");
  EXPECT_EQ(wrong("{\"a\": \"\xff\"}"), "not valid JSON\n");
  EXPECT_EQ(wrong("{\"listeners\": " + std::string(100'000, '[')), "nested too deeply\n");
  EXPECT_EQ(wrong(std::string(2 << 20, ' ')), "larger than 1 MiB\n");
  EXPECT_EQ(wrong(R"({"listener": {}, "listeners": {"a": 1, "b": {"ssl_policy": 7, "default_action": {}}}})"),
            "listeners.a: expected a JSON object\n"
            "listeners.b.ssl_policy: expected text in quotes\n"
            "listeners.b.default_action.forward: missing, expected the name of a target group\n"
            "listener: unknown, did you mean listeners?\n");
  EXPECT_EQ(
      wrong(R"({"target_groups": {"a": {"registered": ["0.0.0.0:1", 1, "x\u0000y", ""]}}})"),
      "target_groups.a.registered: expected text in quotes\n"
      "target_groups.a.registered: \"x\\x00y\": expected text without control characters\n"
      "target_groups.a.registered: expected text that is not empty\n"
      "target_groups.a.registered: \"0.0.0.0:1\" stands for every address, expected that of one target\n");
  EXPECT_EQ(wrong("{\"listeners\": {\"\\u001b[2J\": {\"x\": 1}}}"),
            "listeners.\"\\x1b[2J\".x: unknown, known here are ssl_policy, alpn_policy, certificate, "
            "default_action\n");
}

TEST_F(ChangesFile, IsLoadedWithTheConfiguration) {
  write(some());
  const auto loaded = load(config_);
  ASSERT_TRUE(loaded) << loaded.error().at(0);
  EXPECT_EQ(loaded->file.listeners.at(0).forward.front().target_group, "app");
  EXPECT_EQ(loaded->config.listeners.at(0).forward.front().target_group, "secure");
  EXPECT_EQ(loaded->changes, some());
  EXPECT_TRUE(loaded->dropped.empty());
}

TEST_F(ChangesFile, ThatIsCorruptNamesItselfAndTheRemedy) {
  std::ofstream(file_) << "{\"listeners\": ";
  const auto loaded = load(config_);
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error(),
            (std::vector<std::string>{
                file_.string() + ": not valid JSON",
                file_.string() +
                    ": changes of run time that do not fit; put them right, or undo them all with "
                    "\"tlsplice reset-changes -c " +
                    config_.string() + "\" or by deleting the file"}));
}

TEST_F(ChangesFile, MistakesOfBothFilesComeAtOnce) {
  std::ofstream(config_) << "workers = 0\n" << kConfigured;
  std::ofstream(file_) << "[]";
  const auto loaded = load(config_);
  ASSERT_FALSE(loaded);
  ASSERT_EQ(loaded.error().size(), 3u);
  EXPECT_TRUE(loaded.error()[0].starts_with(config_.string() + ":1:11: workers: ")) << loaded.error()[0];
  EXPECT_EQ(loaded.error()[1], file_.string() + ": expected a JSON object");
}

}  // namespace
}  // namespace tlsplice::control
