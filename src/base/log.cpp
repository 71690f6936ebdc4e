// Formatting of log lines. Values are quoted only where logfmt needs it; every control byte is escaped, so
// that nothing a client sends can forge a line or an escape sequence on somebody's terminal.
#include "tlsplice/base/log.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <climits>

namespace tlsplice::base {
namespace {

constexpr const char* name_of(LogLevel level) {
  switch (level) {
    case LogLevel::kError:
      return "error";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kDebug:
      return "debug";
  }
  return "unknown";
}

void append_escaped(std::string& line, std::string_view text) {
  line += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      line += '\\';
      line += c;
    } else if (const auto byte = static_cast<unsigned char>(c); byte < 0x20 || byte == 0x7f) {
      fmt::format_to(std::back_inserter(line), "\\u{:04x}", byte);
    } else {
      line += c;
    }
  }
  line += '"';
}

bool needs_quotes(std::string_view text) {
  if (text.empty()) return true;
  for (const char c : text) {
    if (c == ' ' || c == '=' || c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      return true;
    }
  }
  return false;
}

void append_value(std::string& line, LogFormat format, const LogField& field) {
  if (field.is_number()) {
    fmt::format_to(std::back_inserter(line), "{}", field.number());
  } else if (format == LogFormat::kJson || needs_quotes(field.text())) {
    append_escaped(line, field.text());
  } else {
    line += field.text();
  }
}

void append_field(std::string& line, LogFormat format, const LogField& field) {
  if (format == LogFormat::kJson) {
    line += line.empty() ? "{\"" : ",\"";
    line += field.key();
    line += "\":";
  } else {
    if (!line.empty()) line += ' ';
    line += field.key();
    line += '=';
  }
  append_value(line, format, field);
}

}  // namespace

std::string format_log_line(LogFormat format, LogLevel level, WallTime at, int pid, std::string_view event,
                            LogFields fields) {
  const auto ms = std::chrono::time_point_cast<Milliseconds>(at);
  const std::time_t seconds =
      std::chrono::system_clock::to_time_t(std::chrono::floor<std::chrono::seconds>(ms));
  const auto fraction = ms.time_since_epoch().count() % 1000;
  const std::string time = fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(seconds), fraction);
  std::string line;
  line.reserve(256);
  append_field(line, format, {"time", time});
  append_field(line, format, {"level", name_of(level)});
  append_field(line, format, {"event", event});
  append_field(line, format, {"pid", pid});
  for (const LogField& field : fields) append_field(line, format, field);
  line += format == LogFormat::kJson ? "}\n" : "\n";
  return line;
}

void Log::write(LogLevel level, std::string_view event, LogFields fields) {
  if (!enabled(level)) return;
  const std::string line =
      format_log_line(format_, level, std::chrono::system_clock::now(), ::getpid(), event, fields);
  // A pipe that polls writable has room for PIPE_BUF bytes, and takes them in one piece (pipe(7)).
  pollfd writable{.fd = fd_, .events = POLLOUT, .revents = 0};
  if (line.size() > PIPE_BUF || ::poll(&writable, 1, 0) != 1 || (writable.revents & POLLOUT) == 0 ||
      ::write(fd_, line.data(), line.size()) < 0) {
    ++dropped_;
  }
}

}  // namespace tlsplice::base
