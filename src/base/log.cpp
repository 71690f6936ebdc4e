// Formatting of log lines. Values are quoted only where logfmt needs it; control bytes and broken UTF-8 are
// escaped, so that nothing a client sends can forge a line or an escape sequence on somebody's terminal.
#include "tlsplice/base/log.hpp"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
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

/// The length of the character that `text` begins with, if it is UTF-8 beyond the control characters of
/// Latin-1; else 0.
std::size_t printable_utf8(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const std::size_t size = lead >= 0xf0 && lead < 0xf5 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc2 ? 2 : 0;
  if (lead >= 0xf5 || size == 0 || text.size() < size) return 0;
  for (std::size_t i = 1; i < size; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) return 0;
  }
  return lead == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0 ? 0 : size;
}

void append_escaped(std::string& line, std::string_view text) {
  line += '"';
  while (!text.empty()) {
    std::size_t size = 1;
    if (const auto byte = static_cast<unsigned char>(text[0]); byte >= 0x80) {
      size = printable_utf8(text);
    } else if (byte < 0x20 || byte == 0x7f) {
      size = 0;
    } else if (byte == '"' || byte == '\\') {
      line += '\\';
    }
    if (size == 0) {
      fmt::format_to(std::back_inserter(line), "\\u{:04x}", static_cast<unsigned char>(text[0]));
      size = 1;
    } else {
      line += text.substr(0, size);
    }
    text.remove_prefix(size);
  }
  line += '"';
}

bool needs_quotes(std::string_view text) {
  if (text.empty()) return true;
  while (!text.empty()) {
    const auto byte = static_cast<unsigned char>(text[0]);
    const std::size_t size = byte >= 0x80 ? printable_utf8(text) : 1;
    if (size == 0 || byte <= 0x20 || byte == 0x7f || byte == '=' || byte == '"' || byte == '\\') return true;
    text.remove_prefix(size);
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

Fd open_log_pipe(int fd) {
  struct stat about{};
  if (::fstat(fd, &about) != 0 || !S_ISFIFO(about.st_mode)) return Fd();
  // A description of our own: setting O_NONBLOCK on the one we inherited would change it for everybody else.
  return Fd(::open(fmt::format("/proc/self/fd/{}", fd).c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
}

}  // namespace tlsplice::base
