// EstablishedStream: one TLS connection after its handshake, whoever encrypts: what both record layers have
// in common, the kernel's (stream.hpp) and our own (tlsplice/tls/record_stream.hpp). Records that are not
// data are obeyed here, as the RFC asks: close_notify ends the direction, a fatal alert breaks the stream, a
// ticket is dropped, a KeyUpdate changes the key where the record layer can and ends the stream with an alert
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

// RFC 8446 appendix B.1.
inline constexpr std::uint8_t kAlertRecord = 21;
inline constexpr std::uint8_t kHandshakeRecord = 22;
inline constexpr std::uint8_t kDataRecord = 23;

// RFC 8446 appendix B.2, of alerts that we send.
inline constexpr std::uint8_t kUnexpectedMessage = 10;
inline constexpr std::uint8_t kBadRecordMac = 20;
inline constexpr std::uint8_t kRecordOverflow = 22;
inline constexpr std::uint8_t kInternalError = 80;

/// Why a stream broke, for the record and the counters.
enum class Trouble : std::uint8_t {
  kNone,
  kAlert,             // the peer sent a fatal alert
  kBadRecord,         // wrong MAC, length or version; in the kernel nothing can be sent any more either
  kKeyUpdate,         // the peer changed its key, and this kernel cannot
  kKeyUpdateFlood,    // more key changes than a peer with honest reasons needs
  kKeyLimit,          // our key may protect no more records, and cannot be changed
  kUnexpectedRecord,  // a record that has no place after the handshake
};

class EstablishedStream : public net::Stream {
 public:
  Trouble trouble() const { return trouble_; }

  int fd() const override { return socket_.get(); }
  net::Io end_write() override;
  net::Notes notes() const override;

 protected:
  /// What changing keys needs of `keys` is kept where `rekeys` says that the record layer can. After
  /// `records_per_key` records sent under one AES-GCM key it is changed by a KeyUpdate of ours; where that
  /// cannot be (TLS 1.2, a kernel before 6.14), the stream ends with an alert.
  EstablishedStream(base::Fd socket, const TrafficKeys& keys, bool rekeys, std::uint64_t records_per_key);

  // ---- The record layer's part
  /// False with errno when it was not taken. `more`: the FIN follows at once.
  virtual bool send_record(std::uint8_t type, std::span<const std::byte> body, bool more) = 0;
  /// False with errno while something that was taken has not gone out.
  virtual bool flush() { return true; }
  virtual bool change_key(Way way, const DirectionKeys& keys) = 0;
  /// Sent under the key, given what the calls of count_records() sum up to.
  virtual std::uint64_t records_sent(std::uint64_t at_most) const = 0;

  // ---- For the record layer
  /// Of a record that is not data and not empty: nothing when reading can go on.
  std::optional<net::Io> obey(std::uint8_t type, std::span<const std::byte> body);
  /// Before a record goes out: nothing when it may.
  std::optional<net::Io> change_key_when_due();
  void count_records(std::uint64_t records) { records_at_most_ += records; }
  /// Sends the alert, if it is one, and ends the stream.
  net::Io broken(Trouble why, std::uint8_t alert);
  bool is_broken() const { return trouble_ != Trouble::kNone; }
  bool rekeys() const { return rekeying_ != nullptr; }
  Version version() const { return version_; }
  Cipher cipher() const { return cipher_; }

 private:
  struct Rekeying {
    TrafficKeys keys;
    base::Instant second_began{};  // of the peer's KeyUpdates that are counted together
    std::uint32_t in_this_second = 0;
  };

  std::optional<net::Io> obey_alert(std::span<const std::byte> body);
  std::optional<net::Io> obey_handshake(std::span<const std::byte> body);
  std::optional<net::Io> obey_key_update(std::byte requested);
  bool floods();
  bool send_key_update();

  base::Fd socket_;
  std::unique_ptr<Rekeying> rekeying_;
  std::uint64_t records_per_key_;  // 0: without a limit
  std::uint64_t records_at_most_;  // sent under this key; an upper bound, made exact when it matters
  Version version_;
  Cipher cipher_;
  Trouble trouble_ = Trouble::kNone;
  std::int16_t alert_ = -1;  // the peer's last one but close_notify; -1: none
  bool close_notify_sent_ = false;
  std::uint32_t key_updates_received_ = 0;
  std::uint32_t key_updates_sent_ = 0;
  std::uint32_t renegotiations_ = 0;
};

}  // namespace tlsplice::ktls
