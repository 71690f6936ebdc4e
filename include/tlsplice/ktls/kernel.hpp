// Kernel TLS on one socket: attaching the ULP, installing keys, and what can be said for people about a
// kernel that refuses. Plain setsockopt calls that never wait (Documentation/networking/tls.rst).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tlsplice/base/result.hpp"
#include "tlsplice/ktls/traffic_keys.hpp"

namespace tlsplice::ktls {

enum class Way : std::uint8_t { kSend, kReceive };

/// Attaches the "tls" ULP. Right after accept or connect: later the peer's FIN may have moved the socket out
/// of ESTABLISHED, and the kernel answers ENOTCONN (trap 18). Harmless when no key follows. Yields the errno,
/// 0 for done; ENOENT means that this kernel has no TLS, or that its module is not loaded.
int attach(int socket);

/// Installs the keys of one way. Nothing of that way may be in flight or held in user space (traps 20-23).
/// Yields the errno, 0 for done: EINVAL or ENOENT for a cipher that this kernel does not know, EBUSY for a
/// second time before 6.14.
int install(int socket, Way way, Version version, Cipher cipher, const DirectionKeys& keys);

/// The sequence number of the next record to be sent: the kernel's own count of what the key has protected
/// (trap 39). AES-GCM only; none when the kernel does not say.
std::optional<std::uint64_t> send_sequence(int socket, Cipher cipher);

/// TLS 1.3 data may be decrypted straight into the reader's buffer, because padding is not expected; padded
/// records are merely decrypted twice (trap 40). Linux 6.0; false is a refusal, which costs nothing but
/// speed.
bool expect_no_padding(int socket);

/// What one kernel does, tried on loopback pairs: cheap enough for each start. All false when there is no
/// ULP.
struct Support {
  bool ulp = false;
  bool rekey = false;             // both of:
  bool rekeys[2] = {};            // [Way]: keys are taken a second time, in TLS 1.3: Linux 6.14
  bool ciphers[2][2][3] = {};     // [Way][Version][Cipher]
  bool takes_no_padding = false;  // expect_no_padding()
  bool wakes_early = false;       // half a record polls readable: before Linux 6.5 (trap 44)
  bool splices = false;           // splice(2) moves data out of a receiving socket
  bool keeps_records = false;  // at another record it says EINVAL and leaves the record to recvmsg (trap 27)
  std::string why_not;         // for people, when there is no ULP

  bool has(Version version, Cipher cipher, Way way) const {
    return ciphers[static_cast<int>(way)][static_cast<int>(version)][static_cast<int>(cipher)];
  }
  bool has(Version version, Cipher cipher) const {
    return has(version, cipher, Way::kSend) && has(version, cipher, Way::kReceive);
  }
};
Support probe();

}  // namespace tlsplice::ktls
