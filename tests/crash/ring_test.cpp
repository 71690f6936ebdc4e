// Programs that must die: a Ring with operations in flight or timers armed, a Stop with something waiting
// under it or children, a frame destroyed while the kernel holds its address. Each runs in a process of its
// own, which must end by SIGABRT and say why.
#include "tlsplice/uring/ring.hpp"

#include <poll.h>
#include <unistd.h>

#include <memory>

#include "../base/child.hpp"
#include "crash.hpp"
#include "tlsplice/uring/ops.hpp"

namespace tlsplice::uring {
namespace {

using tests::make_ring;
using tests::Pipe;

Task<void> wait_readable(Ring& ring, Stop& stop, int fd) {
  co_await readable(ring, stop, fd);
}

Task<void> sleep_long(Ring& ring, Stop& stop) {
  co_await Sleep(ring, stop, std::chrono::hours(1));
}

void let_a_ring_die_with_an_operation_in_flight() {
  const Pipe pipe;
  Stop stop;
  auto ring = make_ring();
  Gate gate(*ring);
  spawn(gate, wait_readable(*ring, stop, pipe.read_end.get()));
  ring.reset();
}

TEST(RingCrash, DiedWithAnOperationInFlight) {
  TLSPLICE_EXPECT_ABORT(let_a_ring_die_with_an_operation_in_flight(),
                        "bug: a Ring died with operations in flight");
}

void let_a_ring_die_with_a_timer_armed() {
  Stop stop;
  auto ring = make_ring();
  const Deadline deadline(*ring, stop, std::chrono::hours(1));
  ring.reset();
}

TEST(RingCrash, DiedWithATimerArmed) {
  TLSPLICE_EXPECT_ABORT(let_a_ring_die_with_a_timer_armed(), "bug: a Ring died with timers armed");
}

void let_a_stop_die_under_an_operation() {
  const Pipe pipe;
  const auto ring = make_ring();
  Gate gate(*ring);
  Stop stop;
  spawn(gate, wait_readable(*ring, stop, pipe.read_end.get()));
}

TEST(StopCrash, DiedWhileAnOperationWaited) {
  TLSPLICE_EXPECT_ABORT(let_a_stop_die_under_an_operation(),
                        "bug: a Stop died while an operation still waited under it");
}

void let_a_stop_die_under_a_sleep() {
  const auto ring = make_ring();
  Gate gate(*ring);
  Stop stop;
  spawn(gate, sleep_long(*ring, stop));
}

TEST(StopCrash, DiedWhileASleepWaited) {
  TLSPLICE_EXPECT_ABORT(let_a_stop_die_under_a_sleep(),
                        "bug: a Stop died while an operation still waited under it");
}

void let_a_stop_die_before_its_child() {
  auto parent = std::make_unique<Stop>();
  const Stop child(*parent);
  parent.reset();
}

TEST(StopCrash, DiedBeforeItsChild) {
  TLSPLICE_EXPECT_ABORT(let_a_stop_die_before_its_child(), "bug: a Stop died before its children");
}

void destroy_an_operation_in_flight() {
  const Pipe pipe;
  const auto ring = make_ring();
  Stop stop;
  Poll poll(*ring, stop, pipe.read_end.get(), POLLIN);
  poll.await_suspend(std::noop_coroutine());
}

TEST(OpCrash, DestroyedInFlight) {
  TLSPLICE_EXPECT_ABORT(destroy_an_operation_in_flight(),
                        "bug: a coroutine frame was destroyed with an operation in flight");
}

}  // namespace
}  // namespace tlsplice::uring
