// Result<T> is a value or an Error. Expected outcomes travel as values; bugs abort (expect.hpp); exceptions
// stop at the edge of the room whose library throws them.
#pragma once

#include <cstdint>
#include <expected>
#include <string>

namespace tlsplice::base {

/// What kind of thing went wrong, as far as a caller decides by it.
enum class Fault : std::uint8_t {
  kInvalid,    // what we were given cannot be right: configuration, file, argument
  kSystem,     // a system call failed for a reason that has no case of its own; errnum says which
  kExhausted,  // descriptors, memory or another limit: EMFILE, ENFILE, ENOMEM, ENOBUFS, EAGAIN of fork
  kRefused,    // the peer answered with a reset or an ICMP error while we connected
  kReset,      // the peer reset an established connection
  kClosed,     // the peer ended the connection where it must not
  kTimedOut,   // a deadline of ours passed
  kStopped,    // we were asked to stop
  kProtocol,   // the peer broke the protocol; detail says how
};

struct [[nodiscard]] Error {
  Fault fault = Fault::kSystem;
  int errnum = 0;
  std::string detail;  // for people: what was being done, to what

  /// "bind 127.0.0.1:443: Permission denied"
  std::string text() const;

  /// Sorts an errno into its Fault. `doing` is what was tried, for people.
  static Error system(std::string doing, int errnum);
  static Error invalid(std::string detail) { return {Fault::kInvalid, 0, std::move(detail)}; }
};

template <typename T>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(Error error) {
  return std::unexpected<Error>(std::move(error));
}

}  // namespace tlsplice::base
