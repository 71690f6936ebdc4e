// How a target is told who its client is: the proxy protocol's header goes out before anything else, at once
// or with the first bytes. It is no payload, so nobody counts it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tlsplice/net/stream.hpp"
#include "tlsplice/observe/record.hpp"
#include "tlsplice/policy/config.hpp"
#include "tlsplice/uring/ring.hpp"
#include "tlsplice/uring/task.hpp"

namespace tlsplice::session {

/// What a header is made of, when it is sent: a flow at rest keeps none. All of it outlives the flow's
/// streams.
struct Introduction {
  const observe::FlowRecord& flow;  // the client's handshake is done
  const policy::ProxyProtocol& settings;

  /// The same bytes each time.
  std::vector<std::byte> header() const;
};

/// At once. `more`: something of ours follows at once, and may go into the same segment. Fails with kReset,
/// kTimedOut or kStopped.
uring::Task<base::Result<void>> send_header(uring::Ring& ring, uring::Stop& stop, int target_socket,
                                            Introduction introduction, bool more, base::Milliseconds limit);

/// With the first bytes: in front of whatever is written or spliced into it first, or of its end.
class HeadedStream final : public net::SocketStream {
 public:
  HeadedStream(base::Fd socket, Introduction introduction)
      : SocketStream(std::move(socket)), introduction_(introduction) {}

  net::Io write(std::span<const std::byte> from) override;
  net::Io end_write() override;
  net::Io may_splice_in() override { return send_ahead(); }

 private:
  net::Io send_ahead();
  net::Io sent(std::ptrdiff_t bytes, std::size_t header_left);

  bool done_ = false;
  std::uint16_t sent_bytes_ = 0;  // of the header, should the socket take no more
  Introduction introduction_;
};

}  // namespace tlsplice::session
