#include "tlsplice/ktls/stream.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>

#include "records.hpp"

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
constexpr std::uint8_t kUnexpectedMessage = 10;
constexpr std::uint8_t kIllegalParameter = 47;
constexpr std::uint8_t kDecodeError = 50;
constexpr std::uint8_t kInternalError = 80;

// A KeyUpdate costs a key derivation and two system calls (trap 38). Honest peers send one in gigabytes.
constexpr std::uint32_t kKeyUpdatesPerSecond = 32;
// Requests to renegotiate that are answered; a peer that goes on asking is not listening.
constexpr std::uint32_t kRenegotiationsMax = 4;
// The kernel closes a record early when its scatterlist is full, so a splice of n bytes makes at most this
// many records: one for each page that is not full, in the pipe's slots (trap 50). A send makes fewer.
constexpr std::size_t kFewestBytesARecord = 256;
// Control records read in one call before the flows have a turn again.
constexpr int kControlRecordsPerRead = 8;

bool peer_ended(int socket) {
  pollfd state{.fd = socket, .events = POLLRDHUP, .revents = 0};
  return ::poll(&state, 1, 0) == 1;
}

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
      return "our key has protected key_update_after records and cannot be changed (TLS 1.3 and Linux 6.14 "
             "can)";
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

bool is_bad_record(int error) {
  return error == EBADMSG || error == EMSGSIZE || error == EINVAL || error == EIO;
}

}  // namespace

KtlsStream::KtlsStream(base::Fd socket, const TrafficKeys& keys, const Support& support,
                       std::uint64_t records_per_key)
    : socket_(std::move(socket)),
      records_per_key_(keys.cipher == Cipher::kChacha20Poly1305 ? 0 : records_per_key),
      records_at_most_(keys.send.sequence),
      version_(keys.version),
      cipher_(keys.cipher),
      wakes_early_(support.wakes_early),
      splices_(support.splices && support.keeps_records) {
  if (support.rekey && version_ == Version::kTls13 && keys.advance != nullptr) {
    rekeying_ = std::make_unique<Rekeying>(Rekeying{keys});
  }
}

Io KtlsStream::read(std::span<std::byte> into) {
  if (trouble_ != Trouble::kNone) return {IoStatus::kBroken, 0};
  const bool splice_refused = std::exchange(splice_refused_, false);
  bool nothing_before = false;
  for (int i = 0; i < kControlRecordsPerRead; ++i) {
    const Received received = receive_record(fd(), into);
    if (received.bytes < 0) {
      // A header that is not TLS is told once, and the splice was told (FINDINGS 3): nothing else would ever
      // come.
      const bool told_before = splice_refused && i == 0 && received.error == EAGAIN;
      if (told_before || is_bad_record(received.error)) return broken(Trouble::kBadRecord, 0);
      return {net::status_of(received.error, IoStatus::kWantRead), 0};
    }
    if (received.bytes == 0) {
      // The end without close_notify, which comes as a record (trap 34); or an empty data record (trap 41).
      if (peer_ended(fd()) && std::exchange(nothing_before, true)) return {IoStatus::kTruncated, 0};
      continue;
    }
    const auto body = into.first(static_cast<std::size_t>(received.bytes));
    if (received.type == kDataRecord) {
      // Short also when a control record comes next; that one makes the socket readable. But not a KeyUpdate
      // that the kernel met while it read on: it stops polling for the next key before anybody has seen the
      // record (trap 35), so where it can be, only an empty socket is drained.
      drained_ = !rekeying_ && body.size() < into.size();
      return {IoStatus::kDone, body.size()};
    }
    if (const auto end = obey(received.type, body)) return *end;
  }
  // More of the same waits: the socket is readable, so the caller comes back at once, after the others.
  return {IoStatus::kWantRead, 0};
}

/// Nothing when reading can go on.
std::optional<Io> KtlsStream::obey(std::uint8_t type, std::span<const std::byte> body) {
  if (type == kAlertRecord) return obey_alert(body);
  if (type == kHandshakeRecord) return obey_handshake(body);
  return broken(Trouble::kUnexpectedRecord, kUnexpectedMessage);
}

std::optional<Io> KtlsStream::obey_alert(std::span<const std::byte> body) {
  if (body.size() != 2) return broken(Trouble::kUnexpectedRecord, kDecodeError);
  if (body[1] == kCloseNotify) return Io{IoStatus::kEnd, 0};
  alert_ = std::to_integer<std::int16_t>(body[1]);
  // In TLS 1.3 every alert but these two is fatal, whatever its level says (RFC 8446 section 6).
  if (body[1] == kUserCanceled || (version_ == Version::kTls12 && body[0] != kFatal)) return std::nullopt;
  trouble_ = Trouble::kAlert;
  return Io{IoStatus::kBroken, 0};
}

std::optional<Io> KtlsStream::obey_handshake(std::span<const std::byte> body) {
  if (version_ == Version::kTls13 && body[0] == kNewSessionTicket) return std::nullopt;
  if (version_ == Version::kTls13 && body[0] == kKeyUpdate && body.size() == 5)
    return obey_key_update(body[4]);
  // TLS 1.2: the peer wants to renegotiate, and is told no (RFC 5246 section 7.2.2); the connection goes on.
  const bool asks = version_ == Version::kTls12 && (body[0] == kClientHello || body[0] == kHelloRequest);
  if (asks && ++renegotiations_ <= kRenegotiationsMax) {
    const std::array refusal{kWarning, kNoRenegotiation};
    if (send_record(fd(), kAlertRecord, refusal)) return std::nullopt;
  }
  return broken(Trouble::kUnexpectedRecord, kUnexpectedMessage);
}

/// The record was sealed with the old key; the kernel now waits for the new one (trap 35), or will fail (trap
/// 36).
std::optional<Io> KtlsStream::obey_key_update(std::byte requested) {
  ++key_updates_received_;
  if (requested > kUpdateRequested) return broken(Trouble::kUnexpectedRecord, kIllegalParameter);
  if (!rekeying_) return broken(Trouble::kKeyUpdate, kInternalError);
  if (floods()) return broken(Trouble::kKeyUpdateFlood, kUnexpectedMessage);
  TrafficKeys& keys = rekeying_->keys;
  if (!keys.advance(keys.cipher, keys.receive) ||
      install(fd(), Way::kReceive, keys.version, keys.cipher, keys.receive) != 0) {
    return broken(Trouble::kKeyUpdate, kInternalError);
  }
  if (requested == kUpdateRequested && !send_key_update()) return broken(Trouble::kKeyUpdate, kInternalError);
  return std::nullopt;
}

bool KtlsStream::floods() {
  const base::Instant now = base::now();
  if (now - rekeying_->second_began >= std::chrono::seconds(1)) {
    rekeying_->second_began = now;
    rekeying_->in_this_second = 0;
  }
  return ++rekeying_->in_this_second > kKeyUpdatesPerSecond;
}

/// Our own KeyUpdate still goes out under the old key; everything after it under the new one. False, with
/// errno, when nothing was changed; a key that is only half changed never gets used, for the stream breaks.
bool KtlsStream::send_key_update() {
  static constexpr std::array<std::byte, 5> kNotRequested{kKeyUpdate, std::byte{0}, std::byte{0},
                                                          std::byte{1}, std::byte{0}};
  TrafficKeys& keys = rekeying_->keys;
  if (!send_record(fd(), kHandshakeRecord, kNotRequested)) return false;
  ++key_updates_sent_;
  records_at_most_ = 0;
  errno = EKEYREJECTED;
  return keys.advance(keys.cipher, keys.send) &&
         install(fd(), Way::kSend, keys.version, keys.cipher, keys.send) == 0;
}

/// Before a record goes out: nothing when it may.
std::optional<Io> KtlsStream::change_key_when_due() {
  if (trouble_ != Trouble::kNone) return Io{IoStatus::kBroken, 0};
  if (records_per_key_ == 0 || records_at_most_ < records_per_key_) return std::nullopt;
  records_at_most_ = send_sequence(fd(), cipher_).value_or(records_at_most_);
  if (records_at_most_ < records_per_key_) return std::nullopt;
  if (rekeying_ && send_key_update()) return std::nullopt;
  if (rekeying_ && errno == EAGAIN) return Io{IoStatus::kWantWrite, 0};
  return broken(Trouble::kKeyLimit, kInternalError);
}

void KtlsStream::count_records(std::size_t bytes) {
  records_at_most_ += 1 + bytes / kFewestBytesARecord;
}

/// EINVAL: the next record is not data, and is kept for the read (trap 27). 0: an empty record, or the end.
Io KtlsStream::spliced_out(ssize_t result) {
  if (result > 0) return {IoStatus::kDone, static_cast<std::size_t>(result)};
  splice_refused_ = result == -EINVAL;
  if (result == 0 || splice_refused_) return {IoStatus::kDone, 0};
  const int error = static_cast<int>(-result);
  if (is_bad_record(error)) return broken(Trouble::kBadRecord, 0);
  return {net::status_of(error, IoStatus::kWantRead), 0};
}

Io KtlsStream::broken(Trouble why, std::uint8_t alert) {
  trouble_ = why;
  if (alert != 0) {
    const std::array body{kFatal, std::byte{alert}};
    (void)send_record(fd(), kAlertRecord, body);  // a peer that does not read it must do without
  }
  return {IoStatus::kBroken, 0};
}

Io KtlsStream::write(std::span<const std::byte> from) {
  if (const auto wait = change_key_when_due()) return *wait;
  const ssize_t n = ::send(fd(), from.data(), from.size(), MSG_NOSIGNAL);
  return spliced_in(n < 0 ? -errno : n);
}

Io KtlsStream::may_splice_in() {
  return change_key_when_due().value_or(Io{});
}

Io KtlsStream::spliced_in(ssize_t result) {
  if (result >= 0) {
    count_records(static_cast<std::size_t>(result));
    return {IoStatus::kDone, static_cast<std::size_t>(result)};
  }
  const int error = static_cast<int>(-result);
  if (is_bad_record(error)) return broken(Trouble::kBadRecord, 0);
  return {net::status_of(error, IoStatus::kWantWrite), 0};
}

net::Notes KtlsStream::notes() const {
  return {.trouble = trouble_ == Trouble::kAlert ? alert_text(alert_) : text_of(trouble_),
          .key_updates_received = key_updates_received_,
          .key_updates_sent = key_updates_sent_,
          .key_limit_reached = trouble_ == Trouble::kKeyLimit,
          .incoming_alert = alert_};
}

Io KtlsStream::end_write() {
  if (!close_notify_sent_) {
    const std::array body{kWarning, kCloseNotify};
    if (!send_record(fd(), kAlertRecord, body)) return {net::status_of(errno, IoStatus::kWantWrite), 0};
    close_notify_sent_ = true;
  }
  if (::shutdown(fd(), SHUT_WR) != 0) return {net::status_of(errno, IoStatus::kWantWrite), 0};
  return {IoStatus::kDone, 0};
}

}  // namespace tlsplice::ktls
