#include "tlsplice/tls/record_stream.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "record_cipher.hpp"

namespace tlsplice::tls {
namespace {

using ktls::Trouble;
using net::Io;
using net::IoStatus;

// Both ways in turn go through the same few pages, which stay in the processor's cache: room for what one
// recv(2) brings, or for the records of one send(2).
constexpr std::size_t kRecordsPerSend = 4;
constexpr std::size_t kScratchBytes = kRecordsPerSend * (kPayloadBytesMax + kRecordOverheadMax);
static_assert(kScratchBytes >= kRecordBytesMax);
// recv(2) calls of one read before the flows have a turn again: records that are not data bring no payload.
constexpr int kReceivesPerRead = 4;
// What may wait to be sent besides data: answers to KeyUpdates of a peer that does not read.
constexpr std::size_t kSealedBytesMax = kScratchBytes + 4096;

std::span<std::byte> scratch() {
  static std::array<std::byte, kScratchBytes> bytes;
  return bytes;
}

}  // namespace

struct RecordStream::Ciphers {
  RecordCipher seal;
  RecordCipher open;
};

std::unique_ptr<RecordStream> RecordStream::create(base::Fd& socket, const ktls::TrafficKeys& keys,
                                                   std::uint64_t records_per_key) {
  auto seal = RecordCipher::create(Use::kSeal, keys.version, keys.cipher, keys.send);
  auto open = RecordCipher::create(Use::kOpen, keys.version, keys.cipher, keys.receive);
  if (!seal || !open) return nullptr;
  auto ciphers = std::make_unique<Ciphers>(Ciphers{std::move(*seal), std::move(*open)});
  return std::unique_ptr<RecordStream>(
      new RecordStream(std::move(socket), keys, records_per_key, std::move(ciphers)));
}

RecordStream::RecordStream(base::Fd socket, const ktls::TrafficKeys& keys, std::uint64_t records_per_key,
                           std::unique_ptr<Ciphers> ciphers)
    : EstablishedStream(std::move(socket), keys, true, records_per_key), ciphers_(std::move(ciphers)) {}
RecordStream::~RecordStream() = default;

bool RecordStream::change_key(ktls::Way way, const ktls::DirectionKeys& keys) {
  return (way == ktls::Way::kSend ? ciphers_->seal : ciphers_->open).change_key(keys);
}

std::uint64_t RecordStream::records_sent(std::uint64_t /*at_most*/) const {
  return ciphers_->seal.sequence();
}

Io RecordStream::read(std::span<std::byte> into) {
  if (held_ || !payload_.empty()) return take_held(into);
  if (is_broken()) return {IoStatus::kBroken, 0};
  std::size_t filled = 0;
  for (int i = 0; i < kReceivesPerRead; ++i) {
    std::size_t raw = raw_.size();
    std::ranges::copy(raw_, scratch().begin());
    std::optional<Io> end;
    if (ciphers_->open.header(raw_).bytes > raw) {
      // Payload is less than the records around it: what is received fits into the reader's buffer.
      end = receive(raw, std::clamp(into.size(), kRecordBytesMax, kScratchBytes));
      if (end) return *end;
    }
    std::span<std::byte> left = scratch().first(raw);
    while (!end && payload_.empty()) {
      const RecordCipher::Header header = ciphers_->open.header(left);
      if (header.alert != 0) end = refuse(header.alert);
      if (header.alert != 0 || header.bytes > left.size()) break;
      end = open_one(left.first(header.bytes), into, filled);
      left = left.subspan(header.bytes);
    }
    raw_.assign(left.begin(), left.end());
    if (raw_.empty()) raw_ = {};
    if (!payload_.empty()) drained_ = false;  // whole records may be left
    if (end && filled == 0) return *end;
    if (end) held_ = end;
    if (filled > 0) return {IoStatus::kDone, filled};
  }
  return {IoStatus::kWantRead, 0};
}

/// More behind the `raw` bytes in the scratch memory, to at most `room`: an Io when there is none.
std::optional<Io> RecordStream::receive(std::size_t& raw, std::size_t room) {
  const ssize_t n = ::recv(fd(), scratch().data() + raw, room - raw, 0);
  drained_ = n < 0 || static_cast<std::size_t>(n) < room - raw;
  if (n == 0) return Io{IoStatus::kTruncated, 0};  // close_notify would have been a record
  if (n < 0) return Io{net::status_of(errno, IoStatus::kWantRead), 0};
  raw += static_cast<std::size_t>(n);
  return std::nullopt;
}

/// Data goes behind the `filled` bytes of `into`, and what that has no room for is kept; other records are
/// obeyed. An Io when reading cannot go on behind it.
std::optional<Io> RecordStream::open_one(std::span<std::byte> record, std::span<std::byte> into,
                                         std::size_t& filled) {
  const std::span<std::byte> room = into.subspan(filled);
  const bool fits = room.size() >= record.size();
  // In place where it is not sure to fit.
  std::byte* const plain = fits ? room.data() : record.data() + ciphers_->open.payload_offset();
  const RecordCipher::Opened opened = ciphers_->open.open(record, plain);
  if (opened.alert != 0) return refuse(opened.alert);
  const std::span<std::byte> body(plain, opened.bytes);
  if (opened.type != ktls::kDataRecord) {
    if (body.empty()) return broken(Trouble::kUnexpectedRecord, ktls::kUnexpectedMessage);
    return obey(opened.type, body);
  }
  const std::size_t taken = std::min(body.size(), room.size());
  if (!fits) {
    std::memcpy(room.data(), plain, taken);
    payload_.assign(body.begin() + static_cast<std::ptrdiff_t>(taken), body.end());
  }
  filled += taken;
  return std::nullopt;
}

Io RecordStream::refuse(std::uint8_t alert) {
  const bool bad = alert != ktls::kUnexpectedMessage;
  return broken(bad ? Trouble::kBadRecord : Trouble::kUnexpectedRecord, alert);
}

Io RecordStream::take_held(std::span<std::byte> into) {
  if (payload_.empty()) return *std::exchange(held_, std::nullopt);
  const std::size_t taken = std::min(into.size(), payload_.size());
  std::memcpy(into.data(), payload_.data(), taken);
  payload_.erase(payload_.begin(), payload_.begin() + static_cast<std::ptrdiff_t>(taken));
  if (payload_.empty()) payload_ = {};
  return {IoStatus::kDone, taken};
}

Io RecordStream::write(std::span<const std::byte> from) {
  if (is_broken()) return {IoStatus::kBroken, 0};
  if (!flush()) return {net::status_of(errno, IoStatus::kWantWrite), 0};
  if (sealed_payload_ > 0) return {IoStatus::kDone, std::exchange(sealed_payload_, 0)};
  if (const auto wait = change_key_when_due()) return *wait;
  std::size_t put = 0;
  std::size_t sealed = 0;
  for (std::size_t i = 0; i < kRecordsPerSend && put < from.size(); ++i) {
    const auto payload = from.subspan(put, std::min(from.size() - put, kPayloadBytesMax));
    const std::size_t size = ciphers_->seal.seal(ktls::kDataRecord, payload, scratch().data() + sealed);
    if (size == 0) return {IoStatus::kExhausted, 0};
    put += payload.size();
    sealed += size;
    count_records(1);
  }
  const ssize_t n = ::send(fd(), scratch().data(), sealed, MSG_NOSIGNAL);
  if (n < 0 && errno != EAGAIN && errno != EINTR) return {net::status_of(errno, IoStatus::kWantWrite), 0};
  const auto gone = static_cast<std::size_t>(std::max<ssize_t>(n, 0));
  if (gone == sealed) return {IoStatus::kDone, put};
  const auto rest = scratch().subspan(gone, sealed - gone);
  sealed_.assign(rest.begin(), rest.end());
  sealed_payload_ = put;
  return {IoStatus::kWantWrite, 0};
}

bool RecordStream::flush() {
  if (sealed_.empty()) return true;
  const ssize_t n = ::send(fd(), sealed_.data(), sealed_.size(), MSG_NOSIGNAL);
  if (n < 0) return false;
  sealed_.erase(sealed_.begin(), sealed_.begin() + n);
  if (!sealed_.empty()) {
    errno = EAGAIN;
    return false;
  }
  sealed_ = {};
  return true;
}

/// Behind what waits, if anything does.
bool RecordStream::send_record(std::uint8_t type, std::span<const std::byte> body, bool more) {
  std::array<std::byte, 64> record;
  if (sealed_.size() + record.size() > kSealedBytesMax || body.size() + kRecordOverheadMax > record.size()) {
    errno = EAGAIN;
    return false;
  }
  const std::size_t size = ciphers_->seal.seal(type, body, record.data());
  if (size == 0) {
    errno = EIO;
    return false;
  }
  std::size_t gone = 0;
  if (sealed_.empty()) {
    const ssize_t n = ::send(fd(), record.data(), size, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
    if (n < 0 && errno != EAGAIN && errno != EINTR) return false;
    gone = static_cast<std::size_t>(std::max<ssize_t>(n, 0));
  }
  sealed_.insert(sealed_.end(), record.begin() + static_cast<std::ptrdiff_t>(gone),
                 record.begin() + static_cast<std::ptrdiff_t>(size));
  return true;
}

}  // namespace tlsplice::tls
