#include "halves.hpp"

#include <algorithm>
#include <limits>

namespace tlsplice::load {
namespace {

constexpr std::size_t kShare =
    std::size_t{1024} * 1024;  // bytes a half may move before the others have a turn
constexpr std::size_t kWriteMax = std::size_t{256} * 1024;
constexpr std::uint64_t kHalfMax = 1024 * 1024;
constexpr std::uint64_t kPiecesPerPause = 3;

Step step_of(Io io) {
  switch (io) {
    case Io::kDone:
      return Step::kMore;
    case Io::kAgain:
      return Step::kWaiting;
    case Io::kEnd:
      return Step::kComplete;
    case Io::kReset:
      return Step::kReset;
    case Io::kFailed:
      break;
  }
  return Step::kFailed;
}

}  // namespace

Pacer::Pacer(std::uint64_t seed, std::uint16_t pause_ms_max)
    : random_(seed),
      pause_ms_max_(pause_ms_max),
      left_(pause_ms_max == 0 ? std::numeric_limits<std::uint64_t>::max() : random_.size(kHalfMax)) {}

std::size_t Pacer::allowance(base::Instant now, std::size_t most) const {
  return now < resume_ ? 0 : std::min<std::uint64_t>(most, left_);
}

void Pacer::moved(std::size_t size, base::Instant now) {
  left_ -= size;
  if (left_ != 0) return;
  left_ = random_.size(kHalfMax);
  if (random_.below(kPiecesPerPause) == 0) {
    resume_ = now + base::Milliseconds(1 + random_.below(pause_ms_max_));
  }
}

Outlet::Outlet(std::vector<std::byte> opening, Pattern pattern, std::uint64_t total, Pacer pacer, bool fin)
    : opening_(std::move(opening)), pattern_(pattern), total_(total), pacer_(pacer), fin_(fin) {}

Step Outlet::send(Connection& connection, base::Instant now, Gate gate) {
  const std::uint64_t before = connection.sent();
  for (;;) {
    const Step reached = step(connection, now, gate);
    if (reached != Step::kMore || connection.sent() - before >= kShare) return reached;
  }
}

Step Outlet::step(Connection& connection, base::Instant now, Gate gate) {
  if (!opening_.empty()) return send_all(connection, opening_);
  if (gate == Gate::kOpening) return Step::kWaiting;
  if (sent_ < total_) {
    const std::size_t allowed = pacer_.allowance(now, std::min<std::uint64_t>(total_ - sent_, kWriteMax));
    if (allowed == 0) return Step::kPaused;
    const Moved moved = connection.write(pattern_.at(sent_, allowed));
    sent_ += moved.size;
    if (moved.size != 0) pacer_.moved(moved.size, now);
    return step_of(moved.io);
  }
  if (gate == Gate::kStream) return Step::kWaiting;
  if (!closing_.empty()) return send_all(connection, closing_);
  if (!ended_) {
    const Io io = connection.finish(fin_);
    if (io != Io::kDone) return step_of(io);
    ended_ = true;
  }
  return Step::kComplete;
}

Step Outlet::send_all(Connection& connection, std::vector<std::byte>& rest) {
  const Moved moved = connection.write(rest);
  rest.erase(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(moved.size));
  return step_of(moved.io);
}

Inlet::Inlet(Pattern pattern, std::uint64_t total, Pacer pacer, std::size_t closing)
    : pattern_(pattern), total_(total), closing_size_(closing), pacer_(pacer) {}

Step Inlet::receive(Connection& connection, const Moment& moment) {
  if (ended_) return Step::kComplete;
  const std::uint64_t before = connection.received();
  while (connection.received() - before < kShare) {
    const std::size_t allowed = pacer_.allowance(moment.now, moment.buffer.size());
    if (allowed == 0) return Step::kPaused;
    const Moved moved = connection.read(moment.buffer.first(allowed));
    if (moved.size != 0) {
      take(moment.buffer.first(moved.size));
      pacer_.moved(moved.size, moment.now);
    }
    if (moved.io == Io::kDone) continue;
    ended_ = moved.io == Io::kEnd;
    return step_of(moved.io);
  }
  return Step::kMore;
}

void Inlet::take(Bytes data) {
  const std::size_t of_stream = std::min<std::uint64_t>(data.size(), total_ - std::min(total_, received_));
  if (of_stream != 0 && !first_wrong_) first_wrong_ = pattern_.first_wrong(received_, data.first(of_stream));
  received_ += of_stream;
  data = data.subspan(of_stream);
  const std::size_t of_closing = std::min(data.size(), closing_size_ - closing_.size());
  closing_.insert(closing_.end(), data.begin(), data.begin() + static_cast<std::ptrdiff_t>(of_closing));
  data = data.subspan(of_closing);
  if (!data.empty() && !first_wrong_) first_wrong_ = total_ + closing_size_;
  received_ += data.size();
}

}  // namespace tlsplice::load
