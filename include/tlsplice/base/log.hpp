// One line an event, logfmt or JSON, on a descriptor (stderr). Each line is one write(2) of at most PIPE_BUF
// bytes, so lines of several processes never mix; when the reader of the log has stalled, a line is dropped
// and counted rather than a worker held up. Secrets are never fields.
//
//   log.info("listening", {{"listener", "web"}, {"address", "0.0.0.0:443"}});
//   time=2026-11-24T10:00:00.123Z level=info event=listening pid=412 listener=web address=0.0.0.0:443
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "tlsplice/base/clock.hpp"
#include "tlsplice/base/fd.hpp"

namespace tlsplice::base {

enum class LogLevel : std::uint8_t { kError, kWarning, kInfo, kDebug };
enum class LogFormat : std::uint8_t { kLogfmt, kJson };

/// A key (a literal) and a value that lives until the line is written. Numbers stay numbers in JSON.
class LogField {
 public:
  LogField(const char* key, std::string_view value) : key_(key), text_(value) {}
  LogField(const char* key, const char* value) : key_(key), text_(value) {}
  LogField(const char* key, const std::string& value) : key_(key), text_(value) {}
  template <std::integral N>
  LogField(const char* key, N value)
      : key_(key), number_(static_cast<std::int64_t>(value)), is_number_(true) {}

  const char* key() const { return key_; }
  std::string_view text() const { return text_; }
  std::int64_t number() const { return number_; }
  bool is_number() const { return is_number_; }

 private:
  const char* key_;
  std::string_view text_;
  std::int64_t number_ = 0;
  bool is_number_ = false;
};

using LogFields = std::initializer_list<LogField>;

/// The line, with its newline. Pure: for the tests, and for those who write it elsewhere.
std::string format_log_line(LogFormat format, LogLevel level, WallTime at, int pid, std::string_view event,
                            LogFields fields);

/// The same pipe, opened once more for writing that never waits; empty when `fd` is no pipe (a file or a
/// terminal does not stall). Several processes that all saw room for one line would otherwise have to wait
/// for each other's reader.
Fd open_log_pipe(int fd);

/// A plain value: each process has its own, all writing to the same descriptor.
class Log {
 public:
  Log(int fd, LogLevel level, LogFormat format) : fd_(fd), level_(level), format_(format) {}

  bool enabled(LogLevel level) const { return level <= level_; }
  void write(LogLevel level, std::string_view event, LogFields fields);
  void error(std::string_view event, LogFields fields = {}) { write(LogLevel::kError, event, fields); }
  void warning(std::string_view event, LogFields fields = {}) { write(LogLevel::kWarning, event, fields); }
  void info(std::string_view event, LogFields fields = {}) { write(LogLevel::kInfo, event, fields); }
  void debug(std::string_view event, LogFields fields = {}) { write(LogLevel::kDebug, event, fields); }

  std::uint64_t dropped() const { return dropped_; }

 private:
  int fd_;
  LogLevel level_;
  LogFormat format_;
  std::uint64_t dropped_ = 0;
};

}  // namespace tlsplice::base
