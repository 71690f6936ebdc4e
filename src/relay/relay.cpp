// One coroutine for each direction. A direction that has ended keeps watching its source for a reset, because
// nobody reads there any more; the last one to end, or the first to fail, ends the flow.
#include "tlsplice/relay/relay.hpp"

#include <memory>
#include <optional>

#include "coalescing.hpp"
#include "direction.hpp"
#include "tlsplice/uring/ops.hpp"

namespace tlsplice::relay {
namespace {

using net::IoStatus;
using Next = Step::Next;

// On a socket that polls readable for half a record: wake-ups in a row that brought nothing, before each
// further one has to wait. A peer that sends half a record must not keep a CPU busy.
constexpr int kIdleWakes = 4;
constexpr base::Milliseconds kIdleWakePause{5};

class Flow {
 public:
  Flow(uring::Ring& ring, uring::Stop& stop, net::Stream& client, net::Stream& target, Pools& pools,
       const Limits& limits, Meter& meter)
      : ring_(ring),
        stop_(stop),
        meter_(meter),
        idle_(ring, stop_, limits.idle),
        up_{Side::kClient, Direction(client, target, pools, limits), nullptr},
        down_{Side::kTarget, Direction(target, client, pools, limits), nullptr},
        truncation_resets_(limits.truncation_resets) {}

  uring::Task<void> pump_up() { return pump(up_, down_); }
  uring::Task<void> pump_down() { return pump(down_, up_); }
  Outcome outcome() const;

 private:
  struct Way {
    Side source;
    Direction direction;
    std::unique_ptr<Coalescing> coalescing;  // at the source, once it has sent much
    bool ended = false;
  };

  uring::Task<void> pump(Way& way, Way& opposite);
  uring::Task<Step> move_all(Way& way);
  uring::Task<Step> splice_all(Way& way);
  uring::Task<void> pass_end_on(Way& way, Way& opposite);
  uring::Task<void> watch(Way& way);
  void tell(Way& way);
  void note(Finish how, Side by);
  void finish(Finish how, Side by);
  void fail(IoStatus status, Side by);

  uring::Ring& ring_;
  uring::Stop stop_;
  Meter& meter_;
  uring::Deadline idle_;
  Way up_;
  Way down_;
  std::optional<Finish> finish_;
  Side by_ = Side::kClient;
  bool truncation_resets_;
  bool truncated_ = false;
};

Side other(Side side) {
  return side == Side::kClient ? Side::kTarget : Side::kClient;
}

uring::Task<void> Flow::pump(Way& way, Way& opposite) {
  const Step last = co_await move_all(way);
  if (last.next == Next::kFromEnded &&
      (last.status == IoStatus::kEnd || last.status == IoStatus::kTruncated)) {
    // After a reset that the writer met first, a reader sees a bare FIN.
    if (last.status == IoStatus::kTruncated && !finish_) truncated_ = true;
    if (last.status == IoStatus::kTruncated && truncation_resets_) {
      finish(Finish::kTruncated, way.source);
    } else if (!finish_) {
      co_await pass_end_on(way, opposite);
    }
  } else if (last.next == Next::kFromEnded) {
    fail(last.status, way.source);
  } else if (last.next == Next::kExhausted) {
    finish(Finish::kExhausted, way.source);
  } else if (last.next == Next::kToFailed && (last.status != IoStatus::kReset || opposite.ended)) {
    fail(last.status, other(way.source));
  } else if (last.next == Next::kToFailed) {
    // What the sink sent before its reset may still be read, and is passed on first.
    note(Finish::kReset, other(way.source));
    co_return;
  }
  if (finish_) stop_.request();
}

/// Moves bytes until the source ends or either side fails. kWaitFrom means that the flow was stopped.
uring::Task<Step> Flow::move_all(Way& way) {
  int idle_wakes = 0;
  for (;;) {
    const std::uint64_t before = way.direction.bytes();
    Step step = way.direction.advance();
    if (step.next == Next::kSplice) step = co_await splice_all(way);
    const bool moved = way.direction.bytes() != before;
    if (moved) tell(way);
    const bool waits_from = step.next == Next::kWaitFrom;
    if (step.next == Next::kTurn) {
      co_await uring::Yield(ring_);
    } else if (!waits_from && step.next != Next::kWaitTo) {
      co_return step;
    } else {
      net::Stream& stream = waits_from ? way.direction.from() : way.direction.to();
      idle_wakes = waits_from && !moved ? idle_wakes + 1 : 0;
      if (idle_wakes > kIdleWakes && stream.wakes_early()) {
        co_await uring::Sleep(ring_, stop_, kIdleWakePause);
      }
      // Under TLS a read may have to write first, and the other way round.
      if (step.status == IoStatus::kWantWrite) {
        co_await uring::writable(ring_, stop_, stream.fd());
      } else {
        co_await uring::readable(ring_, stop_, stream.fd());
      }
    }
    if (stop_.requested()) co_return Step{Next::kWaitFrom};
  }
}

/// Bytes have moved.
void Flow::tell(Way& way) {
  idle_.touch();
  meter_.moved(way.source, way.direction.bytes(), way.direction.spliced_bytes());
  Way& opposite = way.source == Side::kClient ? down_ : up_;
  if (opposite.coalescing) opposite.coalescing->turned();
  if (way.coalescing) {
    way.coalescing->moved(way.direction.bytes());
  } else if (way.direction.bytes() >= Coalescing::kRowBytes &&
             way.direction.from().splices_out() == net::Splicing::kNever) {
    // Only where TLS is in user space: the kernel's waits for whole records as it is.
    way.coalescing = Coalescing::of(ring_, way.direction.from().fd());
  }
}

/// The ring's own splices, one after the other. Each lets the others have a turn.
uring::Task<Step> Flow::splice_all(Way& way) {
  Step step{Next::kSplice};
  while (step.next == Next::kSplice && !stop_.requested()) {
    const Splice due = way.direction.splice_due();
    const int moved = co_await uring::Splice(ring_, stop_, due.from, due.to, due.bytes);
    if (moved <= 0 && stop_.requested()) break;
    step = way.direction.spliced(moved);
    if (moved > 0) tell(way);
    if (step.next == Next::kTurn) step = way.direction.advance();
  }
  if (stop_.requested()) co_return Step{Next::kWaitFrom};
  co_return step;
}

/// The source ended cleanly: so does our direction towards the sink.
uring::Task<void> Flow::pass_end_on(Way& way, Way& opposite) {
  for (;;) {
    const net::Io io = way.direction.to().end_write();
    if (io.status == IoStatus::kDone) break;
    // A sink that ended itself and is gone cannot take our end. It took every byte, so nothing is cut.
    if (io.status == IoStatus::kReset && opposite.ended) break;
    if (io.status != IoStatus::kWantRead && io.status != IoStatus::kWantWrite) {
      fail(io.status, other(way.source));
      co_return;
    }
    co_await uring::writable(ring_, stop_, way.direction.to().fd());
    if (stop_.requested()) co_return;
  }
  idle_.touch();
  way.ended = true;
  if (opposite.ended) {
    finish(Finish::kClosed, way.source);
  } else {
    co_await watch(way);
  }
}

/// Nobody reads from the source any more: only an error there is of interest, until the opposite direction
/// ends.
uring::Task<void> Flow::watch(Way& way) {
  const int events = co_await uring::Failure(ring_, stop_, way.direction.from().fd());
  if (events >= 0 && !finish_) finish(Finish::kReset, way.source);
}

/// The first cause is the one that counts.
void Flow::note(Finish how, Side by) {
  if (finish_) return;
  finish_ = how;
  by_ = by;
}

void Flow::finish(Finish how, Side by) {
  note(how, by);
  stop_.request();
}

void Flow::fail(IoStatus status, Side by) {
  if (status == IoStatus::kExhausted) return finish(Finish::kExhausted, by);
  finish(status == IoStatus::kReset ? Finish::kReset : Finish::kBroken, by);
}

Outcome Flow::outcome() const {
  const Finish unnamed = idle_.expired() ? Finish::kIdle : Finish::kStopped;
  return {.finish = finish_.value_or(unnamed), .by = by_, .truncated = truncated_};
}

}  // namespace

const char* to_string(Mode mode) {
  switch (mode) {
    case Mode::kAuto:
      return "auto";
    case Mode::kSplice:
      return "splice";
    case Mode::kUringSplice:
      return "uring-splice";
    case Mode::kCopy:
      return "copy";
  }
  return "unknown";
}

uring::Task<Outcome> run(uring::Ring& ring, uring::Stop& stop, net::Stream& client, net::Stream& target,
                         Pools& pools, const Limits& limits, Meter& meter) {
  Flow flow(ring, stop, client, target, pools, limits, meter);
  uring::Gate gate(ring);
  uring::spawn(gate, flow.pump_down());
  co_await flow.pump_up();
  co_await gate.empty();
  co_return flow.outcome();
}

}  // namespace tlsplice::relay
