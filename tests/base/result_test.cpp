// Promised: every errno that a caller decides by is sorted into its Fault, all others are kSystem, and an
// error reads as one sentence that says what was tried. Checked by a table of errnos and by whole texts.
#include "tlsplice/base/result.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>

namespace tlsplice::base {
namespace {

struct Sorting {
  int errnum;
  Fault fault;
};

constexpr Sorting kSortings[] = {
    {EMFILE, Fault::kExhausted},
    {ENFILE, Fault::kExhausted},
    {ENOMEM, Fault::kExhausted},
    {ENOBUFS, Fault::kExhausted},
    {ECONNREFUSED, Fault::kRefused},
    {EHOSTUNREACH, Fault::kRefused},
    {ENETUNREACH, Fault::kRefused},
    {EHOSTDOWN, Fault::kRefused},
    {ECONNRESET, Fault::kReset},
    {EADDRNOTAVAIL, Fault::kExhausted},
    {EPIPE, Fault::kReset},
    {ETIMEDOUT, Fault::kTimedOut},
    {ECANCELED, Fault::kStopped},
    {EACCES, Fault::kSystem},
    {EPERM, Fault::kSystem},
    {EADDRINUSE, Fault::kSystem},
    {EINVAL, Fault::kSystem},
    {EIO, Fault::kSystem},
    {0, Fault::kSystem},
};

TEST(Error, SortsAnErrno) {
  for (const Sorting& expected : kSortings) {
    const Error error = Error::system("try", expected.errnum);
    EXPECT_EQ(error.fault, expected.fault) << expected.errnum;
    EXPECT_EQ(error.errnum, expected.errnum);
  }
}

TEST(Error, ReadsAsASentence) {
  EXPECT_EQ(Error::system("bind 127.0.0.1:443", EACCES).text(), "bind 127.0.0.1:443: Permission denied");
  EXPECT_EQ(Error::system("open a socket", EMFILE).text(), "open a socket: Too many open files");
  EXPECT_EQ(Error::invalid("no such thing").text(), "no such thing");
}

TEST(Error, WhatIsInvalidHasNoErrno) {
  const Error error = Error::invalid("x");
  EXPECT_EQ(error.fault, Fault::kInvalid);
  EXPECT_EQ(error.errnum, 0);
}

Result<std::unique_ptr<int>> halved(int number) {
  if (number % 2 != 0) return fail(Error::invalid("odd"));
  return std::make_unique<int>(number / 2);
}

TEST(Result, IsAValueOrAnError) {
  const auto good = halved(4);
  ASSERT_TRUE(good.has_value());
  EXPECT_EQ(**good, 2);
  const auto bad = halved(3);
  ASSERT_FALSE(bad.has_value());
  EXPECT_EQ(bad.error().text(), "odd");
}

}  // namespace
}  // namespace tlsplice::base
