// Programs that must die: a task dropped while it runs or awaited twice, an exception that leaves a task, a
// Gate that dies with a task inside or is awaited by two. Each runs in a process of its own, which must end
// by SIGABRT and say why.
#include "tlsplice/uring/task.hpp"

#include <csignal>
#include <stdexcept>

#include "crash.hpp"
#include "tlsplice/uring/ops.hpp"

namespace tlsplice::uring {
namespace {

using tests::make_ring;

Task<void> sleep_long(Ring& ring, Stop& stop) {
  co_await Sleep(ring, stop, std::chrono::hours(1));
}

Task<void> finish_at_once() {
  co_return;
}

void drop_a_running_task() {
  const auto ring = make_ring();
  Stop stop;
  Task<void> task = sleep_long(*ring, stop);
  task.await_suspend(std::noop_coroutine()).resume();
}

TEST(TaskCrash, DroppedWhileItRan) {
  TLSPLICE_EXPECT_ABORT(drop_a_running_task(), "bug: a task was dropped while it ran");
}

Task<void> await_twice(Ring& ring) {
  auto task = finish_at_once();
  co_await task;
  co_await Yield(ring);
  co_await task;
}

void await_a_task_twice() {
  const auto ring = make_ring();
  Gate gate(*ring);
  spawn(gate, await_twice(*ring));
  while (gate.inside() > 0) (void)ring->run_once();
}

TEST(TaskCrash, AwaitedTwice) {
  TLSPLICE_EXPECT_ABORT(await_a_task_twice(), "bug: a task is awaited once");
}

Task<void> throw_out(Ring& ring) {
  co_await Yield(ring);
  throw std::runtime_error("thrown out of a task");
}

Task<void> hope_to_catch(Ring& ring) {
  try {
    co_await throw_out(ring);
  } catch (const std::runtime_error&) {
    std::_Exit(0);  // it came through
  }
}

void let_an_exception_leave_a_task() {
  const auto ring = make_ring();
  Gate gate(*ring);
  spawn(gate, hope_to_catch(*ring));
  while (gate.inside() > 0) (void)ring->run_once();
}

TEST(TaskCrash, LeftByAnException) {
  TLSPLICE_EXPECT_ABORT(let_an_exception_leave_a_task(), "thrown out of a task");
}

void let_a_gate_die_with_a_task_inside() {
  const auto ring = make_ring();
  Stop stop;
  Gate gate(*ring);
  spawn(gate, sleep_long(*ring, stop));
}

TEST(GateCrash, DiedWithATaskInside) {
  TLSPLICE_EXPECT_ABORT(let_a_gate_die_with_a_task_inside(), "bug: a Gate died with tasks inside");
}

Task<void> await_empty(Gate& gate) {
  co_await gate.empty();
}

void await_a_gate_by_two() {
  const auto ring = make_ring();
  Stop stop;
  Gate gate(*ring), waiting(*ring);
  spawn(gate, sleep_long(*ring, stop));
  spawn(waiting, await_empty(gate));
  spawn(waiting, await_empty(gate));
}

TEST(GateCrash, AwaitedByTwo) {
  TLSPLICE_EXPECT_ABORT(await_a_gate_by_two(), "bug: one awaiter at a time");
}

}  // namespace
}  // namespace tlsplice::uring
