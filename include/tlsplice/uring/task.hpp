// Task<T> is a lazy coroutine: it starts when awaited, once, as an rvalue, and hands its result to that
// awaiter. Dropping a started, unfinished task aborts; so does an exception that leaves it: errors are values
// here. spawn() runs a task that nobody awaits, inside a Gate that counts it; a Gate must be empty when it
// dies.
//
// Parameters of a task are values, or references to what outlives the worker or the awaiting frame; never
// temporaries.
#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <utility>

#include "tlsplice/base/expect.hpp"
#include "tlsplice/uring/ring.hpp"

namespace tlsplice::uring {

/// Coroutine frames come from free lists by size class, one set for each thread. Plain new under
/// AddressSanitizer, so that it still sees a use after free.
void* allocate_frame(std::size_t size);
void free_frame(void* frame, std::size_t size);
/// Frames alive on this thread: zero when a worker has ended all its flows.
std::size_t live_frames();

namespace detail {

struct PooledFrame {
  static void* operator new(std::size_t size) { return allocate_frame(size); }
  static void operator delete(void* frame, std::size_t size) { free_frame(frame, size); }
};

struct ResumeAwaiter {
  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> self) const noexcept {
    return self.promise().awaiter;
  }
  void await_resume() const noexcept {}
};

struct TaskPromise : PooledFrame {
  std::coroutine_handle<> awaiter;
  std::suspend_always initial_suspend() const noexcept { return {}; }
  ResumeAwaiter final_suspend() const noexcept { return {}; }
  void unhandled_exception() const noexcept { std::terminate(); }
};

}  // namespace detail

template <typename T = void>
class [[nodiscard]] Task {
 public:
  struct promise_type : detail::TaskPromise {
    std::optional<T> value;
    Task get_return_object() { return Task(std::coroutine_handle<promise_type>::from_promise(*this)); }
    template <typename U>
    void return_value(U&& result) {
      value.emplace(std::forward<U>(result));
    }
    T take() { return std::move(*value); }
  };

  Task(Task&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  Task& operator=(Task&&) = delete;
  ~Task() {
    if (!frame_) return;
    TLSPLICE_EXPECT(frame_.done() || !started(), "a task was dropped while it ran");
    frame_.destroy();
  }

  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> awaiter) noexcept {
    TLSPLICE_EXPECT(!started(), "a task is awaited once");
    frame_.promise().awaiter = awaiter;
    return frame_;
  }
  T await_resume() { return frame_.promise().take(); }

 private:
  explicit Task(std::coroutine_handle<promise_type> frame) : frame_(frame) {}
  bool started() const { return frame_.promise().awaiter != nullptr; }

  std::coroutine_handle<promise_type> frame_;
};

template <>
struct Task<void>::promise_type : detail::TaskPromise {
  Task get_return_object() { return Task(std::coroutine_handle<promise_type>::from_promise(*this)); }
  void return_void() const noexcept {}
  void take() const noexcept {}
};

/// Counts what runs inside it. `co_await gate.empty()` resumes when the last one has left; one awaiter at a
/// time.
class Gate {
 public:
  explicit Gate(Ring& ring) : ring_(ring) {}
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;
  ~Gate() { TLSPLICE_EXPECT(inside_ == 0, "a Gate died with tasks inside"); }

  std::size_t inside() const { return inside_; }
  void enter() { ++inside_; }
  void leave() {
    if (--inside_ == 0 && awaiter_) ring_.post(std::exchange(awaiter_, nullptr));
  }

  auto empty() {
    struct Awaiter {
      Gate& gate;
      bool await_ready() const noexcept { return gate.inside_ == 0; }
      void await_suspend(std::coroutine_handle<> awaiter) const noexcept {
        TLSPLICE_EXPECT(!gate.awaiter_, "one awaiter at a time");
        gate.awaiter_ = awaiter;
      }
      void await_resume() const noexcept {}
    };
    return Awaiter{*this};
  }

 private:
  Ring& ring_;
  std::size_t inside_ = 0;
  std::coroutine_handle<> awaiter_;
};

/// Starts the task now and lets it run to its end on its own; the gate counts it until then.
void spawn(Gate& gate, Task<void> task);

}  // namespace tlsplice::uring
