// OpenSSL's error queue as text for people.
#pragma once

#include <string>

namespace tlsplice::tls {

/// The reason of the newest error, "no shared cipher"; empties the queue. Empty when there is none.
std::string take_error();

}  // namespace tlsplice::tls
