// Promised: one event is one line, in logfmt or JSON; nothing in a value can end the line, forge a field or
// reach a terminal as a control byte; a reader that has stalled costs lines, never time. Checked by whole
// lines at a fixed time, by every byte value, and on small pipes that nobody reads.
#include "tlsplice/base/log.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <climits>
#include <csignal>
#include <limits>

#include "child.hpp"

namespace tlsplice::base {
namespace {

using std::chrono::sys_days;

WallTime the_time() {
  using namespace std::chrono_literals;
  return sys_days(std::chrono::year_month_day(2026y, std::chrono::November, 24d)) + 10h + 123ms;
}

std::string line(LogFormat format, LogFields fields, LogLevel level = LogLevel::kInfo) {
  return format_log_line(format, level, the_time(), 412, "listening", fields);
}

std::string logfmt(LogFields fields) {
  const std::string whole = line(LogFormat::kLogfmt, fields);
  return whole.substr(whole.find("pid=412") + 7);
}

std::string json(LogFields fields) {
  const std::string whole = line(LogFormat::kJson, fields);
  return whole.substr(whole.find("\"pid\":412") + 9);
}

TEST(LogLine, IsTheExampleInLogfmt) {
  EXPECT_EQ(line(LogFormat::kLogfmt, {{"listener", "web"}, {"address", "0.0.0.0:443"}}),
            "time=2026-11-24T10:00:00.123Z level=info event=listening pid=412 listener=web "
            "address=0.0.0.0:443\n");
}

TEST(LogLine, IsTheExampleInJson) {
  EXPECT_EQ(line(LogFormat::kJson, {{"listener", "web"}, {"address", "0.0.0.0:443"}}),
            "{\"time\":\"2026-11-24T10:00:00.123Z\",\"level\":\"info\",\"event\":\"listening\",\"pid\":412,"
            "\"listener\":\"web\",\"address\":\"0.0.0.0:443\"}\n");
}

TEST(LogLine, NamesTheLevel) {
  for (const auto& [level, name] :
       {std::pair(LogLevel::kError, "error"), std::pair(LogLevel::kWarning, "warning"),
        std::pair(LogLevel::kInfo, "info"), std::pair(LogLevel::kDebug, "debug")}) {
    EXPECT_NE(line(LogFormat::kLogfmt, {}, level).find(fmt::format(" level={} ", name)), std::string::npos);
  }
}

TEST(LogLine, PadsTheTime) {
  const auto early = sys_days(std::chrono::year_month_day(std::chrono::year(2027), std::chrono::January,
                                                          std::chrono::day(2))) +
                     std::chrono::milliseconds(3'004'005);
  EXPECT_TRUE(format_log_line(LogFormat::kLogfmt, LogLevel::kInfo, early, 1, "x", {})
                  .starts_with("time=2027-01-02T00:50:04.005Z "));
}

TEST(LogLine, QuotesWhereLogfmtNeedsIt) {
  EXPECT_EQ(logfmt({{"a", "plain-0.9:/@"}}), " a=plain-0.9:/@\n");
  EXPECT_EQ(logfmt({{"a", ""}}), " a=\"\"\n");
  EXPECT_EQ(logfmt({{"a", "two words"}}), " a=\"two words\"\n");
  EXPECT_EQ(logfmt({{"a", "x=y"}}), " a=\"x=y\"\n");
  EXPECT_EQ(logfmt({{"a", "say \"no\""}}), " a=\"say \\\"no\\\"\"\n");
  EXPECT_EQ(logfmt({{"a", "back\\slash"}}), " a=\"back\\\\slash\"\n");
  EXPECT_EQ(logfmt({{"a", "ende\u00e9"}}), " a=ende\u00e9\n");
}

TEST(LogLine, QuotesEveryTextInJson) {
  EXPECT_EQ(json({{"a", "x"}, {"b", ""}}), ",\"a\":\"x\",\"b\":\"\"}\n");
  EXPECT_EQ(json({{"a", "say \"no\" \\"}}), ",\"a\":\"say \\\"no\\\" \\\\\"}\n");
}

TEST(LogLine, EscapesEveryControlByte) {
  for (int byte = 0; byte < 128; ++byte) {
    if (byte >= 0x20 && byte != 0x7f) continue;
    const std::string value(1, static_cast<char>(byte));
    EXPECT_EQ(logfmt({{"a", value}}), fmt::format(" a=\"\\u{:04x}\"\n", byte));
    EXPECT_EQ(json({{"a", value}}), fmt::format(",\"a\":\"\\u{:04x}\"}}\n", byte));
  }
}

TEST(LogLine, CannotBeForged) {
  const std::string forged = "x\ntime=now level=error event=\"all is lost\"\r\x1b[2J";
  for (const LogFormat format : {LogFormat::kLogfmt, LogFormat::kJson}) {
    const std::string written = line(format, {{"detail", forged}});
    EXPECT_EQ(std::ranges::count(written, '\n'), 1);
    EXPECT_TRUE(written.ends_with('\n'));
    EXPECT_TRUE(std::ranges::none_of(written.substr(0, written.size() - 1),
                                     [](char c) { return static_cast<unsigned char>(c) < 0x20; }));
  }
}

TEST(LogLine, KeepsNumbersNumbers) {
  constexpr auto kLeast = std::numeric_limits<std::int64_t>::min();
  constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
  const std::uint16_t port = 443;
  const std::size_t zero = 0;
  EXPECT_EQ(logfmt({{"a", port}, {"b", -1}, {"c", zero}}), " a=443 b=-1 c=0\n");
  EXPECT_EQ(json({{"a", port}, {"b", kLeast}, {"c", kMost}}),
            ",\"a\":443,\"b\":-9223372036854775808,\"c\":9223372036854775807}\n");
  EXPECT_EQ(json({{"a", "443"}}), ",\"a\":\"443\"}\n");
}

TEST(LogLine, TakesEveryKindOfText) {
  const std::string owned = "owned";
  EXPECT_EQ(logfmt({{"a", owned}, {"b", std::string_view("view")}, {"c", "literal"}}),
            " a=owned b=view c=literal\n");
}

/// A pipe of one page, which blocks whoever writes into it when it is full.
tests::Pipe small_pipe() {
  tests::Pipe pipe;
  TLSPLICE_EXPECT(::fcntl(pipe.write_end.get(), F_SETPIPE_SZ, 4096) >= 4096, "a pipe can be made small");
  return pipe;
}

std::size_t lines_in(const std::string& text) {
  return static_cast<std::size_t>(std::ranges::count(text, '\n'));
}

TEST(Log, WritesWhatItsLevelAllows) {
  tests::Pipe pipe;
  Log log(pipe.write_end.get(), LogLevel::kWarning, LogFormat::kLogfmt);
  log.error("a");
  log.warning("b", {{"n", 1}});
  log.info("c");
  log.debug("d");
  pipe.write_end.reset();
  const std::string text = tests::read_to_end(pipe.read_end.get());
  EXPECT_EQ(lines_in(text), 2u);
  EXPECT_NE(text.find(fmt::format(" level=error event=a pid={}\n", ::getpid())), std::string::npos);
  EXPECT_NE(text.find(fmt::format(" level=warning event=b pid={} n=1\n", ::getpid())), std::string::npos);
  EXPECT_TRUE(log.enabled(LogLevel::kWarning) && !log.enabled(LogLevel::kInfo));
  EXPECT_EQ(log.dropped(), 0u);
}

TEST(Log, DropsAndCountsWhatAFullPipeDoesNotTake) {
  tests::Pipe pipe = small_pipe();
  Log log(pipe.write_end.get(), LogLevel::kInfo, LogFormat::kLogfmt);
  constexpr std::size_t kLines = 1000;
  for (std::size_t i = 0; i < kLines; ++i) log.info("flow", {{"number", i}});
  EXPECT_GT(log.dropped(), 0u);
  EXPECT_LT(log.dropped(), kLines);
  pipe.write_end.reset();
  const std::string text = tests::read_to_end(pipe.read_end.get());
  EXPECT_EQ(lines_in(text) + log.dropped(), kLines);
  EXPECT_TRUE(text.ends_with('\n'));  // whole lines only
}

TEST(Log, GoesOnWhenThereIsRoomAgain) {
  tests::Pipe pipe = small_pipe();
  Log log(pipe.write_end.get(), LogLevel::kInfo, LogFormat::kLogfmt);
  while (log.dropped() == 0) log.info("flow");
  char page[4096];
  while (::read(pipe.read_end.get(), page, sizeof page) == static_cast<ssize_t>(sizeof page)) {
  }
  const std::uint64_t dropped = log.dropped();
  log.info("again");
  EXPECT_EQ(log.dropped(), dropped);
  pipe.write_end.reset();
  EXPECT_NE(tests::read_to_end(pipe.read_end.get()).find("event=again"), std::string::npos);
}

TEST(Log, DropsALineThatCouldBeTorn) {
  tests::Pipe pipe;
  Log log(pipe.write_end.get(), LogLevel::kInfo, LogFormat::kLogfmt);
  log.info("long", {{"detail", std::string(PIPE_BUF, 'x')}});
  EXPECT_EQ(log.dropped(), 1u);
  pipe.write_end.reset();
  EXPECT_EQ(tests::read_to_end(pipe.read_end.get()), "");
}

TEST(Log, CountsWhatGoesNowhere) {
  {
    Log log(-1, LogLevel::kInfo, LogFormat::kLogfmt);
    log.info("x");
    EXPECT_EQ(log.dropped(), 1u);
  }
  ::signal(SIGPIPE, SIG_IGN);  // as the master does
  tests::Pipe pipe;
  pipe.read_end.reset();
  Log log(pipe.write_end.get(), LogLevel::kInfo, LogFormat::kLogfmt);
  log.info("x");
  EXPECT_EQ(log.dropped(), 1u);
}

TEST(Log, LinesOfSeveralProcessesNeverMix) {
  constexpr int kProcesses = 4;
  constexpr int kLines = 200;
  tests::Pipe pipe;
  const std::string filler(3000, 'x');
  std::vector<pid_t> children;
  for (int p = 0; p < kProcesses; ++p) {
    const pid_t child = ::fork();
    if (child == 0) {
      Log log(pipe.write_end.get(), LogLevel::kInfo, LogFormat::kLogfmt);
      for (int i = 0; i < kLines; ++i) log.info("flow", {{"filler", filler}});
      ::_exit(0);
    }
    children.push_back(child);
  }
  pipe.write_end.reset();
  std::string text = tests::read_to_end(pipe.read_end.get());
  for (const pid_t child : children) EXPECT_EQ(tests::end_of(child), "");
  while (!text.empty()) {
    const std::string first = text.substr(0, text.find('\n') + 1);
    ASSERT_TRUE(first.starts_with("time=") && first.ends_with(filler + "\n")) << first;
    ASSERT_EQ(std::ranges::count(first, '='), 5) << first;
    text.erase(0, first.size());
  }
}

}  // namespace
}  // namespace tlsplice::base
