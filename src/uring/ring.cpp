#include "tlsplice/uring/ring.hpp"

#include <liburing.h>
#include <sys/resource.h>

#include <cerrno>
#include <utility>

#include "tlsplice/uring/support.hpp"

namespace tlsplice::uring {
namespace {

// user_data of entries whose completion nobody awaits.
constexpr std::uint64_t kNobody = 0;  // a null Op*

/// The kernel's threads for what it cannot do inline, IORING_OP_SPLICE first of all (trap 72). None of our
/// operations blocks there, so a few are enough for any number of flows.
void bound_kernel_workers(io_uring* ring) {
  unsigned most[] = {4, 4};  // bounded and unbounded work
  (void)io_uring_register_iowq_max_workers(ring, most);
}

}  // namespace

// ---- Stop

Stop::Stop(Stop& parent) : requested_(parent.requested_) {
  parent.children_.push_back(*this);
}

Stop::~Stop() {
  TLSPLICE_EXPECT(waiting_.empty(), "a Stop died while an operation still waited under it");
  TLSPLICE_EXPECT(children_.empty(), "a Stop died before its children");
  unlink();
}

void Stop::request() {
  if (requested_) return;
  requested_ = true;
  children_.each([](Stop& child) { child.request(); });
  // Asking may reap completions when the submission queue is full, so any element can leave meanwhile.
  base::List<Stoppable> asked;
  while (!waiting_.empty()) {
    Stoppable& waiting = waiting_.pop_front();
    asked.push_back(waiting);
    waiting.stop();
  }
  while (!asked.empty()) waiting_.push_back(asked.pop_front());
}

// ---- Op

Op::~Op() {
  TLSPLICE_EXPECT(!in_flight_, "a coroutine frame was destroyed with an operation in flight");
}

void Op::start(std::coroutine_handle<> waiter, io_uring_sqe* entry) {
  waiter_ = waiter;
  in_flight_ = true;
  answered_ = false;
  io_uring_sqe_set_data(entry, this);
  ++ring_.in_flight_;
  stop_.waiting_.push_back(*this);
}

void Op::stop() {
  ring_.cancel(*this);
}

/// With `more` the kernel goes on holding our address: the answer is kept, and the last completion awaited.
void Op::complete(int result, bool more) {
  const bool satisfied = satisfied_by(result);
  if (!answered_ && (satisfied || !more)) {
    result_ = result;
    answered_ = satisfied;
    if (more) ring_.cancel(*this);
  }
  if (more) return;
  if (!answered_ && !satisfied) {
    ring_.unsatisfied_.push_back(this);  // not from here: collecting must not submit
    return;
  }
  unlink();
  in_flight_ = false;
  --ring_.in_flight_;
  ring_.ready_.push_back(waiter_);
}

void Op::begin_anew() {
  if (stop_.requested()) return complete(-ECANCELED, false);
  io_uring_sqe* entry = ring_.entry();
  prepare_again(entry);
  io_uring_sqe_set_data(entry, this);
}

// ---- Timer

void Timer::arm(base::Instant due) {
  disarm();
  due_ = due;
  place_ = ring_.timers_.size();
  ring_.timers_.push_back(this);
  ring_.sift_up(place_);
}

void Timer::disarm() {
  if (!armed()) return;
  const std::size_t hole = place_;
  const std::size_t last = ring_.timers_.size() - 1;
  if (hole != last) ring_.swap_timers(hole, last);
  ring_.timers_.pop_back();
  place_ = kNowhere;
  if (hole != last) {
    ring_.sift_up(hole);
    ring_.sift_down(hole);
  }
}

Deadline::Deadline(Ring& ring, Stop& stop, base::Milliseconds length)
    : Timer(ring), stop_(stop), length_(length), started_(ring.now()) {
  arm(started_ + length_);
}

void Deadline::fire() {
  const base::Instant due = started_ + length_;
  if (due > ring().now()) return arm(due);
  expired_ = true;
  stop_.request();
}

// ---- Ring

Ring::Ring() : ring_(std::make_unique<io_uring>()) {}

base::Result<std::unique_ptr<Ring>> Ring::create(unsigned entries) {
  std::unique_ptr<Ring> ring(new Ring);
  // The first set needs Linux 6.1, which is the oldest kernel we are tested on; the second anything with
  // io_uring.
  for (const unsigned flags : {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
                               IORING_SETUP_CQSIZE | 0U}) {
    io_uring_params params{};
    params.flags = flags;
    params.cq_entries = entries * 4;
    const int error = io_uring_queue_init_params(entries, ring->ring_.get(), &params);
    if (error == 0) {
      bound_kernel_workers(ring->ring_.get());
      return ring;
    }
    if (error != -EINVAL) {
      ring->ring_.reset();
      return base::fail(refusal(-error));
    }
  }
  ring->ring_.reset();
  return base::fail(refusal(EINVAL));
}

Ring::~Ring() {
  TLSPLICE_EXPECT(in_flight_ == 0, "a Ring died with operations in flight");
  TLSPLICE_EXPECT(timers_.empty(), "a Ring died with timers armed");
  if (ring_) io_uring_queue_exit(ring_.get());
}

io_uring_sqe* Ring::entry() {
  io_uring_sqe* sqe = io_uring_get_sqe(ring_.get());
  while (sqe == nullptr) {
    // Full: hand over what is there. -EBUSY and -EAGAIN (completions to be reaped first) end with the next
    // collect.
    const int submitted = io_uring_submit(ring_.get());
    if (submitted < 0) collect();
    sqe = io_uring_get_sqe(ring_.get());
  }
  return sqe;
}

void Ring::cancel(Op& op) {
  io_uring_sqe* sqe = entry();
  io_uring_prep_cancel(sqe, &op, 0);
  // Success says nothing that the operation's own completion does not; -ENOENT and -EALREADY are normal
  // answers.
  io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
  io_uring_sqe_set_data64(sqe, kNobody);
}

void Ring::collect() {
  // Each entry is given back before it is acted on: completing may submit, and submitting may collect.
  io_uring_cqe* cqe = nullptr;
  while (io_uring_peek_cqe(ring_.get(), &cqe) == 0) {
    auto* op = reinterpret_cast<Op*>(cqe->user_data);
    const int result = cqe->res;
    const bool more = (cqe->flags & IORING_CQE_F_MORE) != 0;
    io_uring_cqe_seen(ring_.get(), cqe);
    if (op != nullptr) op->complete(result, more);
  }
}

base::Result<void> Ring::run_once() {
  if (const int error = submit_and_wait(); error < 0) {
    return base::fail(base::Error::system("io_uring_enter", -error));
  }
  take_turn();
  take_long_steps();
  return {};
}

/// 0, or the negative errno of a ring that is dead.
int Ring::submit_and_wait() {
  for (Op* op : std::exchange(unsatisfied_, {})) op->begin_anew();
  io_uring_cqe* cqe = nullptr;
  int error = 0;
  if (in_long_step_ || !ready_.empty() || !long_steps_.empty()) {
    error = io_uring_submit_and_get_events(ring_.get());
  } else if (timers_.empty()) {
    error = io_uring_submit_and_wait(ring_.get(), 1);
  } else {
    const auto wait = std::max(timers_.front()->due_ - base::now(), base::Instant::duration::zero());
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(wait);
    __kernel_timespec timeout{.tv_sec = seconds.count(), .tv_nsec = (wait - seconds).count()};
    error = io_uring_submit_and_wait_timeout(ring_.get(), &cqe, 1, &timeout, nullptr);
  }
  const bool passing = error == -ETIME || error == -EINTR || error == -EBUSY || error == -EAGAIN;
  return passing ? 0 : std::min(error, 0);
}

void Ring::take_turn() {
  now_ = base::now();
  collect();
  fire_timers();
  resuming_.swap(ready_);
  for (const std::coroutine_handle<> waiter : resuming_) waiter.resume();
  resuming_.clear();
}

void Ring::take_long_steps() {
  if (long_steps_.empty()) return;
  turn_ended_ = base::now();
  for (const base::Instant begun = turn_ended_; !long_steps_.empty();) {
    const std::coroutine_handle<> waiter = long_steps_.front();
    long_steps_.pop_front();
    in_long_step_ = true;
    waiter.resume();
    in_long_step_ = false;
    if (turn_ended_ != begun || long_share_is_spent()) return;  // a step that gave way is the last one
  }
}

bool Ring::long_share_is_spent() const {
  const base::Instant::duration share = beside_traffic() ? kLongShareBesideTraffic : kLongShare;
  return base::now() - turn_ended_ >= std::max(share, turn_ended_ - now_);
}

void Ring::give_way() noexcept {
  if (!in_long_step_ || !beside_traffic() || !long_share_is_spent()) return;
  if (submit_and_wait() < 0) return;  // run_once() will say so
  in_long_step_ = false;
  take_turn();
  in_long_step_ = true;
  turn_ended_ = base::now();
}

void Ring::fire_timers() {
  while (!timers_.empty() && timers_.front()->due_ <= now_) {
    Timer* timer = timers_.front();
    timer->disarm();
    timer->fire();
  }
}

void Ring::swap_timers(std::size_t a, std::size_t b) {
  std::swap(timers_[a], timers_[b]);
  timers_[a]->place_ = a;
  timers_[b]->place_ = b;
}

void Ring::sift_up(std::size_t place) {
  while (place > 0 && sooner(place, (place - 1) / 2)) {
    swap_timers(place, (place - 1) / 2);
    place = (place - 1) / 2;
  }
}

void Ring::sift_down(std::size_t place) {
  for (;;) {
    std::size_t soonest = place;
    for (const std::size_t child : {2 * place + 1, 2 * place + 2}) {
      if (child < timers_.size() && sooner(child, soonest)) soonest = child;
    }
    if (soonest == place) return;
    swap_timers(place, soonest);
    place = soonest;
  }
}

io_uring_sqe* next_entry(Ring& ring) {
  return ring.entry();
}

}  // namespace tlsplice::uring
