// Promised: a lease goes back empty or not at all, and the pools keep a bounded number at rest. Checked by
// the descriptors of the process and the identity of what is leased.
#include "tlsplice/relay/pools.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "flow.hpp"

namespace tlsplice::relay {
namespace {

TEST(PipePool, LeasesNonBlockingPipesThatAreNotInherited) {
  PipePool pool;
  const auto pipe = pool.take();
  ASSERT_NE(pipe, nullptr);
  EXPECT_EQ(pipe->bytes, 0u);
  for (const int end : {pipe->read_end.get(), pipe->write_end.get()}) {
    EXPECT_TRUE(::fcntl(end, F_GETFL) & O_NONBLOCK);
    EXPECT_TRUE(::fcntl(end, F_GETFD) & FD_CLOEXEC);
  }
}

TEST(PipePool, ReusesAnEmptyPipe) {
  PipePool pool;
  auto pipe = pool.take();
  Pipe* const leased = pipe.get();
  pool.give_back(std::move(pipe));
  EXPECT_EQ(pool.take().get(), leased);
}

TEST(PipePool, DestroysAPipeThatHoldsBytes) {
  PipePool pool;
  const std::size_t before = tests::open_pipes();
  auto pipe = pool.take();
  ASSERT_EQ(::write(pipe->write_end.get(), "secret", 6), 6);
  pipe->bytes = 6;
  pool.give_back(std::move(pipe));
  EXPECT_EQ(tests::open_pipes(), before);
  char byte = 0;
  EXPECT_EQ(::read(pool.take()->read_end.get(), &byte, 1), -1);
}

TEST(PipePool, KeepsABoundedNumber) {
  const std::size_t before = tests::open_pipes();
  {
    PipePool pool;
    std::vector<std::unique_ptr<Pipe>> leased;
    for (int i = 0; i < 100; ++i) leased.push_back(pool.take());
    EXPECT_EQ(tests::open_pipes(), before + 200);
    for (auto& pipe : leased) pool.give_back(std::move(pipe));
    EXPECT_EQ(tests::open_pipes(), before + 128);
  }
  EXPECT_EQ(tests::open_pipes(), before);
}

TEST(PipePool, HasNoneWhenDescriptorsAreShort) {
  PipePool pool;
  {
    const tests::NoDescriptors none;
    EXPECT_EQ(pool.take(), nullptr);
  }
  EXPECT_NE(pool.take(), nullptr);
}

TEST(PipePool, TakesNothingBack) {
  PipePool pipes;
  pipes.give_back(nullptr);
  EXPECT_NE(pipes.take(), nullptr);
  BufferPool buffers;
  buffers.give_back(nullptr);
  EXPECT_NE(buffers.take(), nullptr);
}

TEST(BufferPool, ReusesABuffer) {
  BufferPool pool;
  auto buffer = pool.take();
  std::byte* const leased = buffer.get();
  buffer[kBufferBytes - 1] = std::byte{1};
  pool.give_back(std::move(buffer));
  EXPECT_EQ(pool.take().get(), leased);
}

}  // namespace
}  // namespace tlsplice::relay
