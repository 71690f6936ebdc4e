#include "tlsplice/ktls/established.hpp"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>

namespace tlsplice::ktls {
namespace {

using net::Io;
using net::IoStatus;

// Message types and alerts: RFC 8446 appendix B.
constexpr std::byte kHelloRequest{0};
constexpr std::byte kClientHello{1};
constexpr std::byte kNewSessionTicket{4};
constexpr std::byte kKeyUpdate{24};
constexpr std::byte kUpdateRequested{1};
constexpr std::byte kWarning{1};
constexpr std::byte kFatal{2};
constexpr std::byte kNoRenegotiation{100};
constexpr std::byte kCloseNotify{0};
constexpr std::byte kUserCanceled{90};
constexpr std::uint8_t kIllegalParameter = 47;
constexpr std::uint8_t kDecodeError = 50;

// A KeyUpdate costs a key derivation and two system calls (trap 38). Honest peers send one in gigabytes.
constexpr std::uint32_t kKeyUpdatesPerSecond = 32;
// Requests to renegotiate that are answered; a peer that goes on asking is not listening.
constexpr std::uint32_t kRenegotiationsMax = 4;

std::string_view text_of(Trouble trouble) {
  switch (trouble) {
    case Trouble::kNone:
      return {};
    case Trouble::kAlert:
      return "a fatal alert";
    case Trouble::kBadRecord:
      return "a record that cannot be decrypted";
    case Trouble::kKeyUpdate:
      return "a KeyUpdate, which this kernel cannot follow (Linux 6.14 and later can)";
    case Trouble::kKeyUpdateFlood:
      return "more KeyUpdates than 32 a second";
    case Trouble::kKeyLimit:
      return "our key has protected key_update_after records and cannot be changed (TLS 1.3 can, in the "
             "kernel from Linux 6.14 on)";
    case Trouble::kUnexpectedRecord:
      return "a record that has no place after the handshake";
  }
  return {};
}

/// The names of RFC 8446 section 6, as far as a peer has reason to send them after the handshake.
std::string_view alert_text(int alert) {
  switch (alert) {
    case 10:
      return "fatal alert unexpected_message";
    case 20:
      return "fatal alert bad_record_mac";
    case 22:
      return "fatal alert record_overflow";
    case 47:
      return "fatal alert illegal_parameter";
    case 50:
      return "fatal alert decode_error";
    case 51:
      return "fatal alert decrypt_error";
    case 80:
      return "fatal alert internal_error";
    case 90:
      return "fatal alert user_canceled";
    default:
      return "a fatal alert";
  }
}

}  // namespace

EstablishedStream::EstablishedStream(base::Fd socket, const TrafficKeys& keys, bool rekeys,
                                     std::uint64_t records_per_key)
    : socket_(std::move(socket)),
      records_per_key_(keys.cipher == Cipher::kChacha20Poly1305 ? 0 : records_per_key),
      records_at_most_(keys.send.sequence),
      version_(keys.version),
      cipher_(keys.cipher) {
  if (rekeys && version_ == Version::kTls13 && keys.advance != nullptr) {
    rekeying_ = std::make_unique<Rekeying>(Rekeying{keys});
  }
}

std::optional<Io> EstablishedStream::obey(std::uint8_t type, std::span<const std::byte> body) {
  if (type == kAlertRecord) return obey_alert(body);
  if (type == kHandshakeRecord) return obey_handshake(body);
  return broken(Trouble::kUnexpectedRecord, kUnexpectedMessage);
}

std::optional<Io> EstablishedStream::obey_alert(std::span<const std::byte> body) {
  if (body.size() != 2) return broken(Trouble::kUnexpectedRecord, kDecodeError);
  if (body[1] == kCloseNotify) return Io{IoStatus::kEnd, 0};
  alert_ = std::to_integer<std::int16_t>(body[1]);
  // In TLS 1.3 every alert but these two is fatal, whatever its level says (RFC 8446 section 6).
  if (body[1] == kUserCanceled || (version_ == Version::kTls12 && body[0] != kFatal)) return std::nullopt;
  trouble_ = Trouble::kAlert;
  return Io{IoStatus::kBroken, 0};
}

std::optional<Io> EstablishedStream::obey_handshake(std::span<const std::byte> body) {
  if (version_ == Version::kTls13 && body[0] == kNewSessionTicket) return std::nullopt;
  if (version_ == Version::kTls13 && body[0] == kKeyUpdate && body.size() == 5)
    return obey_key_update(body[4]);
  // TLS 1.2: the peer wants to renegotiate, and is told no (RFC 5246 section 7.2.2); the connection goes on.
  const bool asks = version_ == Version::kTls12 && (body[0] == kClientHello || body[0] == kHelloRequest);
  if (asks && ++renegotiations_ <= kRenegotiationsMax) {
    const std::array refusal{kWarning, kNoRenegotiation};
    if (send_record(kAlertRecord, refusal, false)) return std::nullopt;
  }
  return broken(Trouble::kUnexpectedRecord, kUnexpectedMessage);
}

/// The record was sealed with the old key; the record layer now waits for the new one (trap 35), or will fail
/// (trap 36).
std::optional<Io> EstablishedStream::obey_key_update(std::byte requested) {
  ++key_updates_received_;
  if (requested > kUpdateRequested) return broken(Trouble::kUnexpectedRecord, kIllegalParameter);
  if (!rekeying_) return broken(Trouble::kKeyUpdate, kInternalError);
  if (floods()) return broken(Trouble::kKeyUpdateFlood, kUnexpectedMessage);
  TrafficKeys& keys = rekeying_->keys;
  if (!keys.advance(keys.cipher, keys.receive) || !change_key(Way::kReceive, keys.receive)) {
    return broken(Trouble::kKeyUpdate, kInternalError);
  }
  if (requested == kUpdateRequested && !send_key_update()) return broken(Trouble::kKeyUpdate, kInternalError);
  return std::nullopt;
}

bool EstablishedStream::floods() {
  const base::Instant now = base::now();
  if (now - rekeying_->second_began >= std::chrono::seconds(1)) {
    rekeying_->second_began = now;
    rekeying_->in_this_second = 0;
  }
  return ++rekeying_->in_this_second > kKeyUpdatesPerSecond;
}

/// Our own KeyUpdate still goes out under the old key; everything after it under the new one. False, with
/// errno, when nothing was changed; a key that is only half changed never gets used, for the stream breaks.
bool EstablishedStream::send_key_update() {
  static constexpr std::array<std::byte, 5> kNotRequested{kKeyUpdate, std::byte{0}, std::byte{0},
                                                          std::byte{1}, std::byte{0}};
  TrafficKeys& keys = rekeying_->keys;
  if (!send_record(kHandshakeRecord, kNotRequested, false)) return false;
  ++key_updates_sent_;
  records_at_most_ = 0;
  errno = EKEYREJECTED;
  return keys.advance(keys.cipher, keys.send) && change_key(Way::kSend, keys.send);
}

std::optional<Io> EstablishedStream::change_key_when_due() {
  if (is_broken()) return Io{IoStatus::kBroken, 0};
  if (records_per_key_ == 0 || records_at_most_ < records_per_key_) return std::nullopt;
  records_at_most_ = records_sent(records_at_most_);
  if (records_at_most_ < records_per_key_) return std::nullopt;
  if (rekeying_ && send_key_update()) return std::nullopt;
  if (rekeying_ && errno == EAGAIN) return Io{IoStatus::kWantWrite, 0};
  return broken(Trouble::kKeyLimit, kInternalError);
}

Io EstablishedStream::broken(Trouble why, std::uint8_t alert) {
  trouble_ = why;
  if (alert != 0) {
    const std::array body{kFatal, std::byte{alert}};
    (void)send_record(kAlertRecord, body, false);  // a peer that does not read it must do without
  }
  return {IoStatus::kBroken, 0};
}

net::Notes EstablishedStream::notes() const {
  return {.trouble = trouble_ == Trouble::kAlert ? alert_text(alert_) : text_of(trouble_),
          .key_updates_received = key_updates_received_,
          .key_updates_sent = key_updates_sent_,
          .key_limit_reached = trouble_ == Trouble::kKeyLimit,
          .incoming_alert = alert_};
}

Io EstablishedStream::end_write() {
  if (!close_notify_sent_) {
    const std::array body{kWarning, kCloseNotify};
    if (!send_record(kAlertRecord, body, true)) return {net::status_of(errno, IoStatus::kWantWrite), 0};
    close_notify_sent_ = true;
  }
  if (!flush() || ::shutdown(fd(), SHUT_WR) != 0) return {net::status_of(errno, IoStatus::kWantWrite), 0};
  return {IoStatus::kDone, 0};
}

}  // namespace tlsplice::ktls
