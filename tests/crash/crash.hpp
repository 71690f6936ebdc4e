// How the tests of this folder check a death: the statement runs in a fresh process, which must end by
// SIGABRT, after a sentence that matches.
#pragma once

#include <gtest/gtest.h>

#include <csignal>
#include <memory>

#include "tlsplice/uring/ring.hpp"

// "threadsafe" starts the program anew for each death instead of going on in a fork.
#define TLSPLICE_EXPECT_ABORT(statement, sentence)                        \
  do {                                                                    \
    GTEST_FLAG_SET(death_test_style, "threadsafe");                       \
    EXPECT_EXIT(statement, testing::KilledBySignal(SIGABRT), (sentence)); \
  } while (false)

namespace tlsplice::tests {

inline std::unique_ptr<uring::Ring> make_ring() {
  auto ring = uring::Ring::create(64);
  TLSPLICE_EXPECT(ring.has_value(), "the tests need io_uring");
  return std::move(*ring);
}

}  // namespace tlsplice::tests
