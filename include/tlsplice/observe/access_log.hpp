// The access log: one line for each connection with a listener that has lines there, in the load balancer's
// format (spec: nlb-facts 6), written once, at its end. The load balancer's own have TLS listeners alone; in
// a TCP listener's the type is "tcp", and what is TLS's is not there. Failed handshakes have theirs too. The
// line is a pure function of the flow's record; AccessLog is where a worker writes it, and never waits.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tlsplice/base/clock.hpp"
#include "tlsplice/base/fd.hpp"
#include "tlsplice/base/result.hpp"
#include "tlsplice/observe/record.hpp"

namespace tlsplice::observe {

/// kVersion1: the document's 18 fields. kVersion2: four more, and the key exchange filled in. kJson: the
/// fields of version 2.0 under their names, an object a line, null for what is not there.
enum class AccessLogFormat : std::uint8_t { kVersion1, kVersion2, kJson };

/// What a line says besides the record. Both are escaped where they hold what would break a line.
struct AccessLogNames {
  std::string_view load_balancer;  // "net/my-load-balancer/50dc6c495c0c9188"
  std::string_view certificate;    // that the listener has
};

/// The line with its newline, ASCII without spaces in its fields whatever the client sent. `now` and `at` are
/// the same moment, the end of the connection; times are UTC.
std::string access_log_line(AccessLogFormat format, const FlowRecord& record, const AccessLogNames& names,
                            base::Instant now, base::WallTime at);

/// Where it goes: "stdout", or a path of a file (made if need be), FIFO or device, for appending and without
/// waiting.
base::Result<base::Fd> open_access_log(const std::string& place);

/// Each line is one write(2) of at most PIPE_BUF bytes to a descriptor that all workers share, so lines never
/// mix. What cannot be written at once (full disk, stuck pipe) is dropped and counted.
class AccessLog {
 public:
  AccessLog() = default;  // writes nothing
  AccessLog(base::Fd fd, AccessLogFormat format, std::string load_balancer)
      : fd_(std::move(fd)), format_(format), load_balancer_(std::move(load_balancer)) {}

  void write(const FlowRecord& record, std::string_view certificate, base::Instant now);
  /// From here on to this descriptor.
  void replace(base::Fd fd) { fd_ = std::move(fd); }
  std::uint64_t dropped() const { return dropped_; }

 private:
  bool put(std::string line);

  base::Fd fd_;
  AccessLogFormat format_ = AccessLogFormat::kVersion1;
  bool interrupted_ = false;  // the last line was not written as a whole
  std::string load_balancer_;
  std::uint64_t dropped_ = 0;
};

}  // namespace tlsplice::observe
