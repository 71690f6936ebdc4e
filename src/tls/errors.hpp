// OpenSSL's error queue as text for people. The queue is one for each thread: whoever reports an error
// empties it, so that nobody takes an old error for his own.
#pragma once

#include <string>

namespace tlsplice::tls {

/// The reason of the newest error, "no shared cipher"; empties the queue. Empty when there is none.
std::string take_error();

}  // namespace tlsplice::tls
