// Promised: the head of an HTTP/1 response is understood in whatever pieces it comes, interim responses are
// passed over, and what is none is told apart; no more than its limit is ever read.
#include "../../src/monitor/response_head.hpp"

#include <gtest/gtest.h>

#include <random>

namespace tlsplice::monitor {
namespace {

using Found = ResponseHead::Found;

constexpr std::string_view kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";

/// The status, or why there is none, or "more".
std::string read(std::string_view text) {
  ResponseHead head;
  const Found found = head.read(text);
  if (found == Found::kMore) return "more";
  return found == Found::kWhole ? std::to_string(head.status()) : head.trouble();
}

TEST(ResponseHead, IsWholeAtTheEmptyLine) {
  EXPECT_EQ(read(kOk), "200");
  EXPECT_EQ(read(std::string(kOk) + "hi"), "200");
  for (std::size_t size = 0; size < kOk.size(); ++size) EXPECT_EQ(read(kOk.substr(0, size)), "more") << size;
}

TEST(ResponseHead, MayComeByteByByte) {
  ResponseHead head;
  for (std::size_t i = 0; i + 1 < kOk.size(); ++i) ASSERT_EQ(head.read(kOk.substr(i, 1)), Found::kMore);
  EXPECT_EQ(head.read(kOk.substr(kOk.size() - 1)), Found::kWhole);
  EXPECT_EQ(head.status(), 200u);
  EXPECT_EQ(head.read("more"), Found::kWhole);
}

TEST(ResponseHead, LinesMayBeOfEitherKind) {
  EXPECT_EQ(read("HTTP/1.0 404 Not Found\nA: b\n\n"), "404");
  EXPECT_EQ(read("HTTP/1.1 204\r\n\r\n"), "204");
  EXPECT_EQ(read("HTTP/1.1 599 \r\nA:\r\n  folded\r\n\r\n"), "599");
}

TEST(ResponseHead, InterimResponsesArePassedOver) {
  EXPECT_EQ(read("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"), "more");
  EXPECT_EQ(read("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\n\r\n"), "503");
}

TEST(ResponseHead, WhatIsNoResponseIsToldApart) {
  const std::string no_status = "its first line is none of HTTP/1.1 or 1.0";
  for (const char* text : {"\r\n", "HTTP/2 200\r\n", "HTTP/1.1 20\r\n", "HTTP/1.1 2000\r\n",
                           "HTTP/1.1 20x OK\r\n", "HTTP/1.1  200 OK\r\n", "HTTP/1.1 099 OK\r\n",
                           "SSH-2.0-OpenSSH\r\n", "http/1.1 200 OK\r\n", " HTTP/1.1 200 OK\r\n"}) {
    EXPECT_EQ(read(text), no_status) << text;
  }
  const std::string no_header = "a line of its headers is none";
  for (const char* line : {"no colon", ": no name", "a name: x", "\x7f: x", "caf\xc3\xa9: x"})
    EXPECT_EQ(read("HTTP/1.1 200 OK\r\n" + std::string(line) + "\r\n"), no_header) << line;
  using namespace std::string_view_literals;
  EXPECT_EQ(read("HTTP/1.1 200 OK\r\nA: \0\r\n"sv), "a byte of zero in its headers");
}

TEST(ResponseHead, HasALimit) {
  const std::string too_long = "its headers are longer than 16 KiB";
  EXPECT_EQ(read(std::string(ResponseHead::kBytesMax, 'a')), "more");
  EXPECT_EQ(read(std::string(ResponseHead::kBytesMax + 1, 'a')), too_long);
  std::string many = "HTTP/1.1 200 OK\r\n";
  while (many.size() <= ResponseHead::kBytesMax) many += "A: b\r\n";
  EXPECT_EQ(read(many), too_long);
  std::string interim;
  while (interim.size() <= ResponseHead::kBytesMax) interim += "HTTP/1.1 100 Continue\r\n\r\n";
  EXPECT_EQ(read(interim), too_long);
}

TEST(ResponseHead, PiecesDoNotMatter) {
  std::mt19937 random(7);
  const std::string_view letters = "HTTP/1. 2:\r\n\n\n0aA\t";
  for (int i = 0; i < 20'000; ++i) {
    std::string text = i % 2 == 0 ? "HTTP/1.1 200\r\n" : "";
    for (std::uint32_t n = random() % 40; n > 0; --n) text += letters[random() % letters.size()];
    ResponseHead pieces;
    std::size_t at = 0;
    Found found = Found::kMore;
    while (at < text.size() && found == Found::kMore) {
      const std::size_t size = random() % 5 + 1;
      found = pieces.read(std::string_view(text).substr(at, size));
      at += size;
    }
    ResponseHead whole;
    ASSERT_EQ(whole.read(text), found) << text;
    ASSERT_STREQ(whole.trouble(), pieces.trouble()) << text;
  }
}

}  // namespace
}  // namespace tlsplice::monitor
