// Fd owns one file descriptor and closes it exactly once. Move-only; an empty Fd holds -1.
// Closing a descriptor does not end an io_uring operation in flight on it: stop and await the operation
// first.
#pragma once

#include <utility>

namespace tlsplice::base {

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    Fd(std::move(other)).swap(*this);
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd();

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  /// Gives the descriptor up; the caller closes it.
  int release() { return std::exchange(fd_, -1); }
  void reset() { Fd().swap(*this); }
  void swap(Fd& other) noexcept { std::swap(fd_, other.fd_); }

 private:
  int fd_ = -1;
};

}  // namespace tlsplice::base
