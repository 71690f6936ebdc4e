// KtlsStream: one TLS connection whose record layer is in the kernel, as a net::Stream. Data moves by plain
// reads, writes and splice(2); every other record (alert, KeyUpdate, ticket) arrives through recvmsg with its
// type and is obeyed here, as the RFC asks: close_notify ends the direction, a fatal alert breaks the stream,
// a ticket is dropped, a KeyUpdate re-keys where the kernel can (6.14) and ends the stream with an alert
// where it cannot.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "tlsplice/base/clock.hpp"
#include "tlsplice/ktls/kernel.hpp"
#include "tlsplice/net/stream.hpp"

namespace tlsplice::ktls {

/// Records under one AES-GCM key, in one direction, before it must be changed: the bound of RFC 8446 section
/// 5.5 is 2^24.5, which RFC 9325 section 4.4 holds TLS 1.2 to as well.
inline constexpr std::uint64_t kRecordsPerKeyMax = 1 << 24;

/// Why a stream broke, for the record and the counters.
enum class Trouble : std::uint8_t {
  kNone,
  kAlert,             // the peer sent a fatal alert
  kBadRecord,         // wrong MAC, length or version; nothing can be sent any more either
  kKeyUpdate,         // the peer changed its key, and this kernel cannot
  kKeyUpdateFlood,    // more key changes than a peer with honest reasons needs
  kKeyLimit,          // our key may protect no more records, and cannot be changed
  kUnexpectedRecord,  // a record that has no place after the handshake
};

class KtlsStream final : public net::Stream {
 public:
  /// `keys` are installed in both directions already; what re-keying needs of them is kept where the kernel
  /// can. After `records_per_key` records sent under one AES-GCM key it is changed by a KeyUpdate of ours;
  /// where that cannot be (TLS 1.2, a kernel before 6.14), the stream ends with an alert.
  KtlsStream(base::Fd socket, const TrafficKeys& keys, const Support& support,
             std::uint64_t records_per_key = kRecordsPerKeyMax);

  Trouble trouble() const { return trouble_; }

  int fd() const override { return socket_.get(); }
  net::Io read(std::span<std::byte> into) override;
  net::Io write(std::span<const std::byte> from) override;
  net::Io end_write() override;
  bool drained() const override { return drained_; }
  /// Reading without padding decrypts straight into the reader's buffer, which beats splicing fresh pages
  /// (FINDINGS 10).
  net::Splicing splices_out() const override {
    return splices_ ? net::Splicing::kPossible : net::Splicing::kNever;
  }
  net::Splicing splices_in() const override { return net::Splicing::kWorthIt; }
  net::Io spliced_out(ssize_t result) override;
  net::Io spliced_in(ssize_t result) override;
  net::Io may_splice_in() override;
  bool wakes_early() const override { return wakes_early_; }
  net::Notes notes() const override;

 private:
  struct Rekeying {
    TrafficKeys keys;
    base::Instant second_began{};  // of the peer's KeyUpdates that are counted together
    std::uint32_t in_this_second = 0;
  };

  std::optional<net::Io> obey(std::uint8_t type, std::span<const std::byte> body);
  std::optional<net::Io> obey_alert(std::span<const std::byte> body);
  std::optional<net::Io> obey_handshake(std::span<const std::byte> body);
  std::optional<net::Io> obey_key_update(std::byte requested);
  bool floods();
  bool send_key_update();
  std::optional<net::Io> change_key_when_due();
  void count_records(std::size_t bytes);
  net::Io broken(Trouble why, std::uint8_t alert);

  base::Fd socket_;
  std::unique_ptr<Rekeying> rekeying_;
  std::uint64_t records_per_key_;      // 0: without a limit
  std::uint64_t records_at_most_ = 0;  // sent under this key; an upper bound, made exact when it matters
  Version version_;
  Cipher cipher_;
  Trouble trouble_ = Trouble::kNone;
  std::int16_t alert_ = -1;  // the peer's last one but close_notify; -1: none
  bool drained_ = false;
  bool wakes_early_;
  bool splices_;                 // the kernel does, and loses no other record by it
  bool splice_refused_ = false;  // by something that the next read must find
  bool close_notify_sent_ = false;
  std::uint32_t key_updates_received_ = 0;
  std::uint32_t key_updates_sent_ = 0;
  std::uint32_t renegotiations_ = 0;
};

}  // namespace tlsplice::ktls
