// KtlsStream: one TLS connection whose record layer is in the kernel, as a net::Stream. Data moves by plain
// reads, writes and splice(2); every other record (alert, KeyUpdate, ticket) arrives through recvmsg with its
// type and is obeyed here, as the RFC asks: close_notify ends the direction, a fatal alert breaks the stream,
// a ticket is dropped, a KeyUpdate re-keys where the kernel can (6.14) and ends the stream with an alert
// where it cannot.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "tlsplice/ktls/kernel.hpp"
#include "tlsplice/net/stream.hpp"

namespace tlsplice::ktls {

/// Why a stream broke, for the record and the counters.
enum class Trouble : std::uint8_t {
  kNone,
  kAlert,             // the peer sent a fatal alert
  kBadRecord,         // wrong MAC, length or version; nothing can be sent any more either
  kKeyUpdate,         // the peer changed its key, and this kernel cannot
  kKeyUpdateFlood,    // more key changes than a peer with honest reasons needs
  kUnexpectedRecord,  // a record that has no place after the handshake
};

class KtlsStream final : public net::Stream {
 public:
  /// `keys` are installed in both directions already; what re-keying needs of them is kept where the kernel
  /// can.
  KtlsStream(base::Fd socket, const TrafficKeys& keys, const Support& support);

  Trouble trouble() const { return trouble_; }
  std::uint32_t key_updates() const { return key_updates_; }

  int fd() const override { return socket_.get(); }
  net::Io read(std::span<std::byte> into) override;
  net::Io write(std::span<const std::byte> from) override;
  net::Io end_write() override;
  bool drained() const override { return drained_; }
  /// Reading without padding decrypts straight into the reader's buffer, which beats splicing fresh pages
  /// (FINDINGS 10).
  bool splices_out() const override { return false; }
  bool splices_in() const override { return true; }
  bool wakes_early() const override { return wakes_early_; }

 private:
  struct Rekeying {
    TrafficKeys keys;
  };

  std::optional<net::Io> obey(std::uint8_t type, std::span<const std::byte> body);
  std::optional<net::Io> obey_alert(std::span<const std::byte> body);
  std::optional<net::Io> obey_handshake(std::span<const std::byte> body);
  std::optional<net::Io> obey_key_update(std::byte requested);
  bool answer_key_update();
  net::Io broken(Trouble why, std::uint8_t alert);
  bool send_record(std::uint8_t type, std::span<const std::byte> body);

  base::Fd socket_;
  std::unique_ptr<Rekeying> rekeying_;
  Version version_;
  Trouble trouble_ = Trouble::kNone;
  bool drained_ = false;
  bool wakes_early_ = false;
  bool close_notify_sent_ = false;
  std::uint32_t key_updates_ = 0;
  std::uint32_t renegotiations_ = 0;
};

}  // namespace tlsplice::ktls
