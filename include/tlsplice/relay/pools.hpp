// What a flow needs only while bytes are in flight: buffers and pipes, leased from pools of one worker. A
// lease goes back empty: a pipe that still holds bytes is destroyed, for they would reach the next flow's
// peer.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "tlsplice/base/fd.hpp"

namespace tlsplice::relay {

/// A buffer takes four full TLS records.
inline constexpr std::size_t kBufferBytes = 64 * 1024;

class BufferPool {
 public:
  struct Free {
    void operator()(std::byte* bytes) const { std::free(bytes); }
  };
  /// From malloc(3), not from new: a flow can do without its buffer better than the worker without its
  /// reserve.
  using Buffer = std::unique_ptr<std::byte[], Free>;
  /// Null when memory is short.
  Buffer take();
  void give_back(Buffer buffer);

 private:
  static constexpr std::size_t kKept = 64;  // 4 MiB at rest
  std::vector<Buffer> free_;
};

struct Pipe {
  base::Fd read_end;
  base::Fd write_end;
  std::size_t bytes = 0;  // in it now; may exceed its nominal size, never compare
};

class PipePool {
 public:
  /// Null when descriptors are short: the flow then copies.
  std::unique_ptr<Pipe> take();
  void give_back(std::unique_ptr<Pipe> pipe);

 private:
  static constexpr std::size_t kKept = 64;
  std::vector<std::unique_ptr<Pipe>> free_;
};

struct Pools {
  BufferPool buffers;
  PipePool pipes;
};

}  // namespace tlsplice::relay
