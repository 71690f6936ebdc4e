// Stream is one side of a flow as the relay sees it: plaintext bytes in and out of a non-blocking socket,
// whatever lies beneath. SocketStream is plain TCP; tls::TlsStream decrypts in user space; ktls::KtlsStream
// has its record layer in the kernel. No call waits: a call that cannot go on says what to wait for on fd(),
// and is then repeated.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "tlsplice/base/fd.hpp"

namespace tlsplice::net {

enum class IoStatus : std::uint8_t {
  kDone,       // bytes moved, or the write side was ended
  kWantRead,   // repeat when fd() is readable
  kWantWrite,  // repeat when fd() is writable
  kEnd,        // the peer ended its direction as the protocol demands: FIN, or close_notify under TLS
  kTruncated,  // a FIN that no close_notify announced: the bytes so far may be cut short (trap 34)
  kReset,      // the peer reset the connection
  kExhausted,  // no memory: not the peer's fault, and nothing more can be read or written
  kBroken,     // the peer broke the protocol, or sent a fatal alert; nothing more can be read or written
};

struct Io {
  IoStatus status = IoStatus::kDone;
  std::size_t bytes = 0;  // moved, when kDone
};

/// Whether splice(2) on a stream's socket moves plaintext.
enum class Splicing : std::uint8_t {
  kNever,
  kPossible,  // it does, but a read or a write costs less
  kWorthIt,   // and costs less than copying where bulk is moved
};

/// What the protocol beneath went through, for the flow's record.
struct Notes {
  std::string_view trouble;  // why the stream is kBroken, for people; lives as long as the stream
  std::uint32_t key_updates_received = 0;
  std::uint32_t key_updates_sent = 0;
  bool key_limit_reached = false;    // broken because a key may protect no further record
  std::int16_t incoming_alert = -1;  // the last alert from the peer but close_notify; -1: none
};

class Stream {
 public:
  Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  virtual ~Stream() = default;

  virtual int fd() const = 0;
  virtual Io read(std::span<std::byte> into) = 0;
  /// May take less than it is given. After kWantRead or kWantWrite repeat with the same bytes, or more after
  /// them.
  virtual Io write(std::span<const std::byte> from) = 0;
  /// Ends our direction: FIN, under TLS close_notify before it. The other direction stays open.
  virtual Io end_write() = 0;
  /// True when the last read emptied the socket and nothing decrypted is held: waiting is then better than
  /// reading.
  virtual bool drained() const = 0;
  virtual Splicing splices_out() const = 0;
  virtual Splicing splices_in() const = 0;
  /// What splice(2) out of fd() said, a count or a negative errno, made sense of. {kDone, 0}: it stopped at
  /// something that is not data, and read() is to be called next.
  virtual Io spliced_out(ssize_t result);
  /// The same of splice(2) into fd(). Before each of them may_splice_in() must have said kDone.
  virtual Io spliced_in(ssize_t result);
  virtual Io may_splice_in() { return {}; }
  /// True when fd() may poll readable although read() has nothing yet, again and again (trap 44).
  virtual bool wakes_early() const { return false; }
  virtual Notes notes() const { return {}; }
};

/// Turns the errno of a failed read or write on a connected socket into a status.
IoStatus status_of(int errnum, IoStatus again);

class SocketStream : public Stream {
 public:
  explicit SocketStream(base::Fd socket) : socket_(std::move(socket)) {}

  int fd() const override { return socket_.get(); }
  Io read(std::span<std::byte> into) override;
  Io write(std::span<const std::byte> from) override;
  Io end_write() override;
  bool drained() const override { return drained_; }
  Splicing splices_out() const override { return Splicing::kWorthIt; }
  Splicing splices_in() const override { return Splicing::kWorthIt; }

 private:
  base::Fd socket_;
  bool drained_ = false;
};

}  // namespace tlsplice::net
