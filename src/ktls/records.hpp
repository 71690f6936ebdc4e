// Records that are not data, through a socket whose record layer is in the kernel: their type travels beside
// the bytes, as a control message (Documentation/networking/tls.rst). No call waits on a non-blocking socket.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "tlsplice/ktls/established.hpp"

namespace tlsplice::ktls {

struct Received {
  ssize_t bytes;  // as of recvmsg(2)
  int error;      // errno when bytes is negative
  std::uint8_t type;
};

/// Data of one record or more, or one record of another type.
Received receive_record(int socket, std::span<std::byte> into);

/// False with errno when the kernel did not take it. Also closes a record left open by the sender (trap 33).
bool send_record(int socket, std::uint8_t type, std::span<const std::byte> body);

}  // namespace tlsplice::ktls
