// SharedRows<T> is an array of plain structs in memory that all processes of the service see: made by the
// master before it forks, either in a memfd of its own or over a BPF array (BPF_F_MMAPABLE), which bpftool
// then prints. Whoever writes and reads does not know which. T is one row of the map: its size is the map's
// value size.
#pragma once

#include <cstddef>
#include <string_view>
#include <type_traits>
#include <utility>

#include "tlsplice/base/expect.hpp"
#include "tlsplice/base/fd.hpp"
#include "tlsplice/base/result.hpp"

namespace tlsplice::base {

struct SharedMemory {
  void* start;
  Fd descriptor;  // of what it lies in: another process that has it can map the same
};
/// `size` bytes of shared memory: what lies in `fd`, or zeros when that is -1. Inherited by fork, gone with
/// the last process that has it.
Result<SharedMemory> map_shared(int fd, std::size_t size);
void unmap_shared(void* memory, std::size_t size);

template <typename T>
class SharedRows {
  static_assert(std::is_trivially_copyable_v<T> && std::is_standard_layout_v<T>);
  static_assert(sizeof(T) % 8 == 0, "the kernel rounds a row up to eight bytes");

 public:
  SharedRows() = default;
  /// The descriptor may be closed afterwards.
  static Result<SharedRows> create(std::size_t count, int fd = -1) {
    auto memory = map_shared(fd, count * sizeof(T));
    if (!memory) return fail(std::move(memory.error()));
    return SharedRows(static_cast<T*>(memory->start), count, std::move(memory->descriptor));
  }
  SharedRows(SharedRows&& other) noexcept
      : rows_(std::exchange(other.rows_, nullptr)),
        count_(std::exchange(other.count_, 0)),
        descriptor_(std::move(other.descriptor_)) {}
  SharedRows& operator=(SharedRows&& other) noexcept {
    std::swap(rows_, other.rows_);
    std::swap(count_, other.count_);
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  SharedRows(const SharedRows&) = delete;
  SharedRows& operator=(const SharedRows&) = delete;
  ~SharedRows() {
    if (rows_ != nullptr) unmap_shared(rows_, count_ * sizeof(T));
  }

  std::size_t count() const { return count_; }
  int descriptor() const { return descriptor_.get(); }
  /// The rows stay; nobody can be given them any more.
  void forget_descriptor() { descriptor_.reset(); }
  T& operator[](std::size_t index) const {
    TLSPLICE_EXPECT(index < count_, "no such row");
    return rows_[index];
  }

 private:
  SharedRows(T* rows, std::size_t count, Fd descriptor)
      : rows_(rows), count_(count), descriptor_(std::move(descriptor)) {}

  T* rows_ = nullptr;
  std::size_t count_ = 0;
  Fd descriptor_;
};

/// Text into a field of a row that is still zeros, cut to what fits, with a zero behind it.
template <std::size_t N>
void enter_text(char (&field)[N], std::string_view text) {
  text.substr(0, N - 1).copy(field, N - 1);
}

/// A field that has one writer and any number of readers in other processes.
template <typename T>
T shared_get(const T& field) {
  return __atomic_load_n(&field, __ATOMIC_RELAXED);
}
template <typename T>
void shared_set(T& field, std::type_identity_t<T> value) {
  __atomic_store_n(&field, value, __ATOMIC_RELAXED);
}
template <typename T>
void shared_add(T& field, std::type_identity_t<T> n = 1) {
  shared_set(field, shared_get(field) + n);
}

}  // namespace tlsplice::base
