// Promised: rows begin at zero, each has its own place, a child's stores are seen by its parent, and a moved
// SharedRows leaves nothing behind. Checked with a forked child.
#include "tlsplice/base/shared_rows.hpp"

#include <gtest/gtest.h>

#include <cstdint>

#include "child.hpp"

namespace tlsplice::base {
namespace {

struct Row {
  std::uint64_t a;
  std::uint64_t b;
};

TEST(SharedRows, BeginAtZeroAndAreApart) {
  auto rows = SharedRows<Row>::create(3);
  ASSERT_TRUE(rows.has_value());
  EXPECT_EQ(rows->count(), 3u);
  shared_add((*rows)[1].b, 5);
  shared_add((*rows)[1].b);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(shared_get((*rows)[i].a), 0u);
    EXPECT_EQ(shared_get((*rows)[i].b), i == 1 ? 6u : 0u);
  }
}

TEST(SharedRows, AChildWritesForItsParent) {
  auto rows = SharedRows<Row>::create(2);
  ASSERT_TRUE(rows.has_value());
  EXPECT_EQ(tests::in_child([&]() -> std::string {
              shared_set((*rows)[1].a, 42);
              return "";
            }),
            "");
  EXPECT_EQ(shared_get((*rows)[1].a), 42u);
}

TEST(SharedRows, Move) {
  auto rows = SharedRows<Row>::create(1);
  ASSERT_TRUE(rows.has_value());
  (*rows)[0].a = 9;
  SharedRows<Row> other;
  EXPECT_EQ(other.count(), 0u);
  other = std::move(*rows);
  EXPECT_EQ(other[0].a, 9u);
  EXPECT_EQ(rows->count(), 0u);  // NOLINT(bugprone-use-after-move): what is promised
}

TEST(SharedRows, WhatCannotBeMappedIsAnError) {
  const auto rows = SharedRows<Row>::create(1, 0x7fffffff);
  ASSERT_FALSE(rows.has_value());
  EXPECT_EQ(rows.error().errnum, EBADF);
}

}  // namespace
}  // namespace tlsplice::base
