// Reads the header with which a trusted proxy tells who its client is, version 1 (a line) or 2 (binary), of
// doc/proxy-protocol.txt: pure, bytes in, an address out. It never takes a byte of what follows: it says how
// many may be read at a time. Strict, since whoever sends it is configured to, and everything has a limit.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "tlsplice/base/result.hpp"
#include "tlsplice/net/address.hpp"

namespace tlsplice::proxy_protocol {

/// Of version 1: the format's own limit.
inline constexpr std::size_t kLineBytesMax = 107;
/// Of version 2, ours: addresses take 36 bytes, a server name and what is known of TLS some hundred more.
inline constexpr std::size_t kInboundBytesMax = 4096;

class HeaderReader {
 public:
  /// How many bytes may be read next, at most; 0 when the header is whole.
  std::size_t wanted() const;
  /// Of those only the ones up to the first newline, and that one too, may be taken: so look at them first
  /// (MSG_PEEK).
  bool up_to_newline() const;
  /// At least one of them, in order. kProtocol: it is no header, the detail says why; nothing may be asked
  /// afterwards.
  base::Result<void> take(std::span<const std::byte> bytes);

  /// Of a whole header: the client that it names; nothing when it speaks of no client (LOCAL, UNKNOWN), and
  /// the peer is the client. An IPv4 address that is written as IPv6 is IPv4.
  const std::optional<net::Address>& client() const { return client_; }

 private:
  base::Result<void> begin() const;
  base::Result<void> read_line();
  base::Result<void> read_frame();
  base::Result<void> read_tlvs(std::size_t at) const;
  bool is_line() const;
  std::size_t frame_bytes() const;

  std::string bytes_;
  bool done_ = false;
  std::optional<net::Address> client_;
};

}  // namespace tlsplice::proxy_protocol
