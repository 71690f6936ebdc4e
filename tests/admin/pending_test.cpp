// Promised: an answer may come later than the question, and reaches whoever asked and nobody else; who goes
// away meanwhile costs nothing, who waits too long is told so. What a command carries reaches the one who
// answers, within limits.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstdlib>
#include <filesystem>

#include "tlsplice/admin/client.hpp"
#include "tlsplice/admin/server.hpp"

namespace tlsplice::admin {
namespace {

class PendingTest : public testing::Test {
 protected:
  PendingTest() {
    char name[] = "/tmp/tlsplice-admin-XXXXXX";
    folder_ = ::mkdtemp(name);
    path_ = folder_ + "/admin.sock";
    auto opened = Server::open(path_);
    EXPECT_TRUE(opened) << opened.error().text();
    if (opened) server_.emplace(std::move(*opened));
  }
  ~PendingTest() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  /// A connection on which `line` was said.
  base::Fd say(const std::string& line) {
    base::Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::send(socket.get(), line.data(), line.size(), MSG_NOSIGNAL), std::ssize(line));
    return socket;
  }

  /// What has come, without waiting; "nothing yet" while the connection is open and silent.
  static std::string heard(const base::Fd& socket) {
    char text[1024];
    const ssize_t got = ::recv(socket.get(), text, sizeof text, MSG_DONTWAIT);
    return got < 0 ? "nothing yet" : std::string(text, static_cast<std::size_t>(got));
  }

  void serve() { serve_at(base::now()); }
  void serve_at(base::Instant now) {
    server_->serve(now, [this](const Request& request) {
      asked_.push_back(request);
      return std::nullopt;
    });
  }

  std::size_t waiting() const {
    std::vector<pollfd> watched;
    server_->watch(watched);
    return watched.size() - 1;
  }

  std::string folder_;
  std::string path_;
  std::optional<Server> server_;
  std::vector<Request> asked_;
};

Reply reply(std::string json) {
  return {.json = std::move(json), .descriptors = {}};
}

TEST_F(PendingTest, TheAnswerComesLaterToWhoeverAsked) {
  const base::Fd first = say("{\"command\": \"a\"}\n");
  const base::Fd second = say("{\"command\": \"b\"}\n");
  serve();
  ASSERT_EQ(asked_.size(), 2u);
  EXPECT_NE(asked_[0].ticket, asked_[1].ticket);
  EXPECT_EQ(heard(first), "nothing yet");
  const std::size_t b = asked_[0].command == "b" ? 0 : 1;
  server_->complete(asked_[b].ticket, reply("{\"b\": 1}"));
  serve();
  EXPECT_EQ(heard(second), "{\"b\": 1}\n");
  EXPECT_EQ(heard(second), "") << "the end";
  EXPECT_EQ(heard(first), "nothing yet");
  server_->complete(asked_[b].ticket, reply("{\"b\": 2}"));  // nobody's any more
  server_->complete(asked_[1 - b].ticket, reply("{\"a\": 1}"));
  server_->complete(asked_[1 - b].ticket, reply("{\"a\": 2}"));  // the first answer stays
  serve();
  EXPECT_EQ(heard(first), "{\"a\": 1}\n");
  EXPECT_EQ(asked_.size(), 2u) << "no question is asked twice";
  EXPECT_EQ(waiting(), 0u);
}

TEST_F(PendingTest, AnAnswerMayComeWhileItIsAskedFor) {
  const base::Fd socket = say("{\"command\": \"a\"}\n");
  server_->serve(base::now(), [this](const Request& request) {
    server_->complete(request.ticket, reply("{\"at\": \"once\"}"));
    return std::nullopt;
  });
  EXPECT_EQ(heard(socket), "{\"at\": \"once\"}\n");
  EXPECT_EQ(waiting(), 0u);
}

TEST_F(PendingTest, WhoGoesAwayIsForgotten) {
  base::Fd socket = say("{\"command\": \"a\"}\n");
  serve();
  ASSERT_EQ(asked_.size(), 1u);
  EXPECT_EQ(waiting(), 1u);
  socket.reset();
  std::vector<pollfd> watched;
  server_->watch(watched);
  EXPECT_EQ(::poll(watched.data(), watched.size(), 0), 1) << "the master wakes for it";
  serve();
  EXPECT_EQ(waiting(), 0u);
  server_->complete(asked_[0].ticket, reply("{}"));
  serve();
}

TEST_F(PendingTest, WhoOnlySaysNoMoreStillHasItsAnswer) {
  const base::Fd socket = say("{\"command\": \"a\"}\n");
  serve();
  ::shutdown(socket.get(), SHUT_WR);
  std::vector<pollfd> watched;
  server_->watch(watched);
  EXPECT_EQ(::poll(watched.data(), watched.size(), 0), 0) << "and wakes nobody meanwhile";
  serve();
  ASSERT_EQ(asked_.size(), 1u);
  server_->complete(asked_[0].ticket, reply("{}"));
  serve();
  EXPECT_EQ(heard(socket), "{}\n");
}

TEST_F(PendingTest, WhoWaitsTooLongIsToldSo) {
  const base::Fd socket = say("{\"command\": \"a\"}\n");
  const base::Instant begun = base::now();
  serve_at(begun);
  EXPECT_EQ(server_->next_deadline(), begun + Server::kWorkPatience);
  serve_at(begun + Server::kPatience);
  EXPECT_EQ(heard(socket), "nothing yet");
  serve_at(begun + Server::kWorkPatience);
  EXPECT_NE(heard(socket).find("\"error\":\"not done within 120 s, and still under way"), std::string::npos);
  EXPECT_EQ(waiting(), 0u);
}

TEST_F(PendingTest, ACommandCarriesWhatItIsAbout) {
  const base::Fd with = say("{\"command\": \"a\", \"arguments\": {\"x\": [1, \"\u00e9\"]}}\n");
  serve();
  ASSERT_EQ(asked_.size(), 1u);
  EXPECT_EQ(asked_[0].arguments, "{\"x\":[1,\"\u00e9\"]}");
  const base::Fd without = say("{\"command\": \"a\"}\n");
  serve();
  ASSERT_EQ(asked_.size(), 2u);
  EXPECT_EQ(asked_[1].arguments, "{}");
}

TEST_F(PendingTest, WhatItCarriesHasLimits) {
  const std::string deep(20'000, '[');
  const struct {
    std::string line;
    std::string answer;
  } cases[] = {
      {"{\"command\": \"a\", \"arguments\": {\"x\": " + deep + "}}", "nested too deeply"},
      {"{\"command\": \"a\", \"arguments\": " + deep + std::string(20'000, ']') + "}", "nested too deeply"},
      {"{\"command\": \"a\", \"arguments\": []}", "expected a JSON object"},
      {"{\"command\": \"a\", \"arguments\": \"{}\"}", "expected a JSON object"},
      {"{\"command\": \"a\", \"arguments\": {\"x\": \"\xff\"}}", "expected a line of JSON"},
      {"{\"command\": {}}", "expected a line of JSON"},
  };
  for (const auto& [line, answer] : cases) {
    const base::Fd socket = say(line + "\n");
    serve();
    EXPECT_NE(heard(socket).find(answer), std::string::npos) << line.substr(0, 60);
  }
  EXPECT_TRUE(asked_.empty());
}

}  // namespace
}  // namespace tlsplice::admin
