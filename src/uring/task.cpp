#include "tlsplice/uring/task.hpp"

#include <array>
#include <new>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TLSPLICE_PLAIN_FRAMES 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define TLSPLICE_PLAIN_FRAMES 1
#endif

namespace tlsplice::uring {
namespace {

// A flow at rest is a dozen frames, so what rounding adds to each counts: the classes are the sizes that
// malloc of glibc has anyway, multiples of 16 less its header of 8.
constexpr std::size_t kClassBytes = 16;
constexpr std::size_t kHeaderBytes = 8;
constexpr std::size_t kClasses = 128;  // frames up to 2 KiB; larger ones are rare and go to operator new

struct FreeFrame {
  FreeFrame* next;
};

struct FramePool {
  std::array<FreeFrame*, kClasses> free{};
  std::size_t live = 0;

  ~FramePool() {
    for (FreeFrame* frame : free) {
      while (frame != nullptr) {
        FreeFrame* const next = frame->next;
        ::operator delete(frame);
        frame = next;
      }
    }
  }
};

thread_local FramePool pool;

[[maybe_unused]] std::size_t class_of(std::size_t size) {
  return (size + kHeaderBytes + kClassBytes - 1) / kClassBytes - 1;
}

/// Runs a task and destroys its own frame at the end; the only coroutine that nobody awaits.
struct Detached {
  struct promise_type : detail::PooledFrame {
    Detached get_return_object() const noexcept { return {}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    void unhandled_exception() const noexcept { std::terminate(); }
  };
};

Detached run_detached(Gate& gate, Task<void> task) {
  co_await std::move(task);
  gate.leave();
}

}  // namespace

void* allocate_frame(std::size_t size) {
  void* frame = nullptr;
#ifndef TLSPLICE_PLAIN_FRAMES
  if (const std::size_t index = class_of(size); index < kClasses) {
    if (FreeFrame* const reused = pool.free[index]; reused != nullptr) {
      pool.free[index] = reused->next;
      frame = reused;
    } else {
      frame = ::operator new((index + 1) * kClassBytes - kHeaderBytes);
    }
  }
#endif
  if (frame == nullptr) frame = ::operator new(size);
  ++pool.live;
  return frame;
}

void free_frame(void* frame, std::size_t size) {
  --pool.live;
#ifndef TLSPLICE_PLAIN_FRAMES
  if (const std::size_t index = class_of(size); index < kClasses) {
    pool.free[index] = new (frame) FreeFrame{pool.free[index]};
    return;
  }
#else
  (void)size;
#endif
  ::operator delete(frame);
}

std::size_t live_frames() {
  return pool.live;
}

void spawn(Gate& gate, Task<void> task) {
  gate.enter();
  run_detached(gate, std::move(task));
}

}  // namespace tlsplice::uring
