// OpenSSL's error queue: as text for people, and as a reason that can be counted. The queue is one for each
// thread: whoever reports an error empties it, so that nobody takes an old error for his own.
#pragma once

#include <string>

#include "tlsplice/tls/stream.hpp"

namespace tlsplice::tls {

struct LibraryError {
  std::string text;  // "no shared cipher"; empty when there is none
  NegotiationError reason = NegotiationError::kOther;
};

/// The oldest error that says why a negotiation fails, else the newest; empties the queue. Since OpenSSL 3.2
/// the record layer's reason lies under a general "record layer failure".
LibraryError take_library_error();

/// Its text alone.
std::string take_error();

}  // namespace tlsplice::tls
