// One io_uring, its loop, and what can be in flight on it. A worker has exactly one Ring, on its only thread,
// created by the process that uses it (trap 79). The only room that knows a submission entry.
// How a coroutine waits: an Op (the kernel's view of one operation) lives inside the awaiter, hence in the
// coroutine's frame; its address is the entry's user_data. The kernel holds that address until the completion
// arrives, so a frame is never destroyed while its Op is in flight: ending early is Stop::request(), then
// awaiting the same completion. All completions are collected first and resumed afterwards, from the loop or
// from a long step that gives way, never inside any other coroutine.
#pragma once

#include <coroutine>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "tlsplice/base/clock.hpp"
#include "tlsplice/base/list.hpp"
#include "tlsplice/base/result.hpp"

struct io_uring;
struct io_uring_sqe;

namespace tlsplice::uring {

class Ring;
class Timer;

/// Something that a Stop can end early: an Op in flight or a sleep.
class Stoppable : public base::ListNode<Stoppable> {
 protected:
  friend class Stop;
  ~Stoppable() = default;
  virtual void stop() = 0;
};

/// Ends everything that waits under it, and everything that later tries to: those awaits return -ECANCELED. A
/// child is requested with its parent, not the other way round. Must outlive what waits under it.
class Stop : public base::ListNode<Stop> {
 public:
  Stop() = default;
  explicit Stop(Stop& parent);  // NOLINT(google-explicit-constructor): a child, not a copy
  Stop(const Stop&) = delete;
  Stop& operator=(const Stop&) = delete;
  ~Stop();

  void request();
  bool requested() const { return requested_; }

 private:
  friend class Op;
  friend class Sleep;  // NOLINT(cppcoreguidelines-virtual-class-destructor): it is final
  base::List<Stoppable> waiting_;
  base::List<Stop> children_;
  bool requested_ = false;
};

/// One operation as the kernel sees it. Neither moves nor dies while in flight.
class Op : private Stoppable {
 public:
  Op(Ring& ring, Stop& stop) : ring_(ring), stop_(stop) {}
  Op(const Op&) = delete;
  Op& operator=(const Op&) = delete;

 protected:
  ~Op();
  Ring& ring() { return ring_; }
  bool stopped() const { return stop_.requested(); }
  void start(std::coroutine_handle<> waiter, io_uring_sqe* entry);
  int result() const { return result_; }
  void answer(int result) { result_ = result; }
  /// Of an operation that answers more than once: whether this answer is the one that was waited for.
  virtual bool satisfied_by(int /*result*/) const { return true; }
  /// Prepares the same operation once more, when the kernel ended it before it was satisfied (trap 77).
  virtual void prepare_again(io_uring_sqe* /*entry*/) {}

 private:
  friend class Ring;
  void stop() override;
  void complete(int result, bool more);
  void begin_anew();

  Ring& ring_;
  Stop& stop_;
  std::coroutine_handle<> waiter_;
  int result_ = 0;
  bool in_flight_ = false;
  bool answered_ = false;
};

/// A moment at which the ring calls fire(). Kept in a heap of pointers: arming and disarming are O(log n), no
/// syscall.
class Timer {
 public:
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

 protected:
  explicit Timer(Ring& ring) : ring_(ring) {}
  ~Timer() { disarm(); }
  void arm(base::Instant due);
  void disarm();
  bool armed() const { return place_ != kNowhere; }
  Ring& ring() { return ring_; }
  const Ring& ring() const { return ring_; }
  virtual void fire() = 0;  // called disarmed, from the loop's top level

 private:
  friend class Ring;
  static constexpr std::size_t kNowhere = static_cast<std::size_t>(-1);
  Ring& ring_;
  base::Instant due_{};
  std::size_t place_ = kNowhere;
};

class Ring {
 public:
  /// `entries` is the size of the submission queue; the completion queue is four times as large (trap 80).
  static base::Result<std::unique_ptr<Ring>> create(unsigned entries = 1024);
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring();

  /// Submits, waits for at least one completion or timer, resumes everyone who is due. Fails only if the ring
  /// is dead.
  base::Result<void> run_once();

  /// The time at which this round of the loop began: good enough for deadlines, and free.
  base::Instant now() const { return now_; }

  /// Resumes the coroutine in the next round. What keeps a loop that never has to wait fair to the others.
  void post(std::coroutine_handle<> waiter) { ready_.push_back(waiter); }

  /// The same for what computes for long (a step of a handshake: a signature). It comes behind everyone else,
  /// in the order of posting. Long steps have kLongShare, or as long as the others last had when that was
  /// more; then it is the others' turn again. So a burst of steps holds up for little those who only move
  /// bytes, and is not starved by them either. Without traffic to be held up, longer turns cost less.
  static constexpr std::chrono::microseconds kLongShare{500};
  static constexpr std::chrono::microseconds kLongShareBesideTraffic{50};
  void post_long_step(std::coroutine_handle<> waiter) { long_steps_.push_back(waiter); }

  /// Between two parts of a long step, as often as it has such places: if the share beside traffic is spent,
  /// the others have their turn here, inside the step. They cannot end it: it waits for nothing that they
  /// could answer or stop, and the next step is not begun by them. Does nothing anywhere else.
  void give_way() noexcept;

  /// A flow moves bytes, and not for the first time: long steps are to think of it for a while.
  static constexpr base::Milliseconds kTrafficRemembered{100};
  void note_traffic() { traffic_noted_ = now_; }
  bool beside_traffic() const { return now_ - traffic_noted_ < kTrafficRemembered; }

  std::size_t in_flight() const { return in_flight_; }

 private:
  friend class Op;
  friend class Timer;
  friend io_uring_sqe* next_entry(Ring& ring);

  Ring();
  io_uring_sqe* entry();
  void cancel(Op& op);
  void collect();
  int submit_and_wait();
  void take_turn();
  void take_long_steps();
  bool long_share_is_spent() const;
  void fire_timers();
  bool sooner(std::size_t a, std::size_t b) const { return timers_[a]->due_ < timers_[b]->due_; }
  void swap_timers(std::size_t a, std::size_t b);
  void sift_up(std::size_t place);
  void sift_down(std::size_t place);

  std::unique_ptr<io_uring> ring_;
  std::vector<std::coroutine_handle<>> ready_;
  std::vector<std::coroutine_handle<>> resuming_;
  std::deque<std::coroutine_handle<>> long_steps_;
  std::vector<Op*> unsatisfied_;  // ended by the kernel too early; begun anew with the next round
  std::vector<Timer*> timers_;    // a binary heap, the soonest first
  base::Instant now_ = base::now();
  base::Instant turn_ended_ = now_;  // of those who only move bytes, where a long step waits
  base::Instant traffic_noted_{};
  bool in_long_step_ = false;
  std::size_t in_flight_ = 0;
};

/// Stops everything under `stop` when `length` has passed without touch(). One for each phase of a flow.
class Deadline final : private Timer {
 public:
  Deadline(Ring& ring, Stop& stop, base::Milliseconds length);

  /// Starts the time anew. One store: the timer is moved only when it would fire.
  void touch() { started_ = ring().now(); }
  bool expired() const { return expired_; }

 private:
  void fire() override;

  Stop& stop_;
  base::Milliseconds length_;
  base::Instant started_;
  bool expired_ = false;
};

}  // namespace tlsplice::uring
