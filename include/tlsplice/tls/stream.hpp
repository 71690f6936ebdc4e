// TlsStream: one TLS connection in user space, as a net::Stream. Reads decrypt, writes encrypt, end_write()
// sends close_notify and then the FIN; a FIN that no close_notify announced is told apart from an end (trap
// 34).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "tlsplice/base/result.hpp"
#include "tlsplice/ktls/traffic_keys.hpp"
#include "tlsplice/net/stream.hpp"
#include "tlsplice/tls/context.hpp"

struct ssl_st;

namespace tlsplice::tls {

struct SocketState;
struct KeyCapture;

/// Why a connection stays with OpenSSL although another record layer was wanted.
enum class StayReason : std::uint8_t {
  kProtocol,     // TLS 1.0 and 1.1
  kCipher,       // not an AEAD that kernels have
  kRecordSize,   // the peer asked for records smaller than the kernel sends
  kPendingData,  // OpenSSL holds bytes of the peer that can never be given back (trap 20)
  kLibrary,      // OpenSSL could not derive the keys
};

/// Why a handshake came to nothing, as far as it is counted.
enum class NegotiationError : std::uint8_t {
  kOther,
  kNotTls,    // the first bytes were no TLS record
  kProtocol,  // no protocol version in common
  kCipher,    // no cipher suite, group or signature algorithm in common
  kAlert,     // the peer refused with a fatal alert
};

class TlsStream final : public net::Stream {
 public:
  enum class Role : std::uint8_t { kServer, kClient };
  /// Takes the socket. Null when memory is short; the socket is then closed. A client offers the application
  /// protocol `alpn`, if it is not empty.
  static std::unique_ptr<TlsStream> create(base::Fd socket, const Context& context, Role role,
                                           std::string_view alpn = {});
  ~TlsStream() override;

  /// Goes on with the handshake: kDone when finished, kWantRead or kWantWrite to be repeated, else it has
  /// failed and failure() says why. A fatal alert has then been offered to the socket already.
  /// `between`, unless it is empty, is called between two messages of a flight: between a key exchange and a
  /// signature. It must leave this stream alone, may use others, and must not throw: OpenSSL is its caller.
  net::Io handshake(const std::function<void()>& between = {});
  const std::string& failure() const { return failure_; }
  NegotiationError negotiation_error() const { return negotiation_error_; }

  /// Of a server, from the handshake's first step on, whatever becomes of it. What the client asked for (RFC
  /// 6066 section 3), at most 255 bytes; empty: nothing. Lives as long as the stream.
  std::string_view server_name() const;
  /// The application protocols that the client offered, of a listener with an ALPN policy: each with its
  /// length in front as it came (RFC 7301), the first 256 bytes of them at most. Lives as long as the stream.
  std::string_view alpn_offer() const;
  /// Whether a ClientHello came that can be read.
  bool valid_hello() const;

  /// After the handshake; all point to constants.
  const char* protocol() const;  // "TLSv1.2"
  const char* cipher() const;    // "ECDHE-RSA-AES128-GCM-SHA256"
  const char* group() const;     // of the key exchange, "x25519"; "-" when there was none (RSA)
  const char* alpn() const;      // the application protocol that both agreed on, "h2"; "-" for none

  /// What another record layer needs to go on from here, the kernel's or our own; after the handshake.
  using Keys = std::expected<ktls::TrafficKeys, StayReason>;
  Keys traffic_keys() const;
  /// Ends the TLS connection in user space without a word to the peer, and gives the socket up.
  base::Fd release_socket() &&;

  /// What becomes of a connection that stays in user space: a RecordStream where there are keys for it. Else,
  /// or when memory is short, this stream, which now lets one recv(2) fetch more than one record.
  static std::unique_ptr<net::Stream> settle(std::unique_ptr<TlsStream> stream, const Keys& keys,
                                             std::uint64_t records_per_key);
  void read_ahead();

  int fd() const override { return socket_.get(); }
  net::Io read(std::span<std::byte> into) override;
  net::Io write(std::span<const std::byte> from) override;
  net::Io end_write() override;
  bool drained() const override;
  net::Splicing splices_out() const override { return net::Splicing::kNever; }
  net::Splicing splices_in() const override { return net::Splicing::kNever; }
  net::Notes notes() const override;

 private:
  struct Free {
    void operator()(ssl_st* ssl) const;
  };
  TlsStream(base::Fd socket, std::unique_ptr<SocketState> state, std::unique_ptr<KeyCapture> capture,
            ssl_st* ssl);
  net::IoStatus judge(int returned);

  base::Fd socket_;
  std::unique_ptr<SocketState> state_;
  std::unique_ptr<KeyCapture> capture_;
  std::unique_ptr<ssl_st, Free> ssl_;
  std::string failure_;
  std::optional<net::IoStatus> held_;  // what read() met behind the bytes it returned
  NegotiationError negotiation_error_ = NegotiationError::kOther;
  bool broken_ = false;  // OpenSSL allows nothing more after a fatal error
  bool close_notify_sent_ = false;
};

}  // namespace tlsplice::tls
