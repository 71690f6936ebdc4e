#include "tlsplice/ktls/stream.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "records.hpp"

namespace tlsplice::ktls {
namespace {

using net::Io;
using net::IoStatus;

// The kernel closes a record early when its scatterlist is full, so a splice of n bytes makes at most this
// many records: one for each page that is not full, in the pipe's slots (trap 50). A send makes fewer.
constexpr std::size_t kFewestBytesARecord = 256;
// Control records read in one call before the flows have a turn again.
constexpr int kControlRecordsPerRead = 8;

bool peer_ended(int socket) {
  pollfd state{.fd = socket, .events = POLLRDHUP, .revents = 0};
  return ::poll(&state, 1, 0) == 1;
}

bool is_bad_record(int error) {
  return error == EBADMSG || error == EMSGSIZE || error == EINVAL || error == EIO;
}

}  // namespace

KtlsStream::KtlsStream(base::Fd socket, const TrafficKeys& keys, const Support& support,
                       std::uint64_t records_per_key)
    : EstablishedStream(std::move(socket), keys, support.rekey, records_per_key),
      wakes_early_(support.wakes_early),
      splices_(support.splices && support.keeps_records) {}

bool KtlsStream::send_record(std::uint8_t type, std::span<const std::byte> body, bool /*more*/) {
  return ktls::send_record(fd(), type, body);
}

bool KtlsStream::change_key(Way way, const DirectionKeys& keys) {
  return install(fd(), way, version(), cipher(), keys) == 0;
}

std::uint64_t KtlsStream::records_sent(std::uint64_t at_most) const {
  return send_sequence(fd(), cipher()).value_or(at_most);
}

Io KtlsStream::read(std::span<std::byte> into) {
  if (is_broken()) return {IoStatus::kBroken, 0};
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
      drained_ = !rekeys() && body.size() < into.size();
      return {IoStatus::kDone, body.size()};
    }
    if (const auto end = obey(received.type, body)) return *end;
  }
  // More of the same waits: the socket is readable, so the caller comes back at once, after the others.
  return {IoStatus::kWantRead, 0};
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
    count_records(1 + static_cast<std::uint64_t>(result) / kFewestBytesARecord);
    return {IoStatus::kDone, static_cast<std::size_t>(result)};
  }
  const int error = static_cast<int>(-result);
  if (is_bad_record(error)) return broken(Trouble::kBadRecord, 0);
  return {net::status_of(error, IoStatus::kWantWrite), 0};
}

}  // namespace tlsplice::ktls
