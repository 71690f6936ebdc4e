// Promised: a command that goes to the admin socket reaches the one who answers, and the answer comes back
// whole with its descriptors, as many and as long as they may be; whoever says nothing is left at the
// deadline, and whoever waits for an answer that comes later has it then (pending_test.cpp). An order on a
// channel reaches the worker with its descriptor, and a full channel says so instead of waiting.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "tlsplice/admin/channel.hpp"
#include "tlsplice/admin/client.hpp"
#include "tlsplice/admin/server.hpp"

namespace tlsplice::admin {
namespace {

using base::Fault;

class AdminTest : public testing::Test {
 protected:
  AdminTest() {
    char name[] = "/tmp/tlsplice-admin-XXXXXX";
    folder_ = ::mkdtemp(name);
    path_ = folder_ + "/run/admin.sock";
  }
  ~AdminTest() override { std::filesystem::remove_all(folder_); }

  /// Serves until `ask` has returned.
  template <typename Ask>
  void serve(Server& server, const Server::Answer& answer, Ask ask) {
    std::atomic<bool> done = false;
    std::jthread asker([&] {
      ask();
      done = true;
    });
    while (!done) {
      std::vector<pollfd> watched;
      server.watch(watched);
      ::poll(watched.data(), watched.size(), 10);
      server.serve(base::now(), answer);
    }
  }

  std::string folder_;
  std::string path_;
};

ino_t identity(const base::Fd& descriptor) {
  struct stat status{};
  ::fstat(descriptor.get(), &status);
  return status.st_ino;
}

TEST_F(AdminTest, AnAnswerComesBackWhole) {
  auto server = Server::open(path_);
  ASSERT_TRUE(server) << server.error().text();
  const std::string text(1 << 20, 'x');
  std::string heard;
  const auto answer = [&](const Request& request) {
    heard = request.command;
    return Reply{.json = "{\"text\": \"" + text + "\"}", .descriptors = {}};
  };
  serve(*server, answer, [&] {
    const auto told = ask(path_, "say \"it\"\n");
    ASSERT_TRUE(told) << told.error().text();
    EXPECT_EQ(told->json, "{\"text\": \"" + text + "\"}\n");
    EXPECT_TRUE(told->descriptors.empty());
  });
  EXPECT_EQ(heard, "say \"it\"\n");
}

TEST_F(AdminTest, AsManyDescriptorsAsThereAre) {
  constexpr std::size_t kMany = 600;  // more than one message takes
  auto server = Server::open(path_);
  ASSERT_TRUE(server);
  std::vector<ino_t> sent;
  const auto answer = [&](const Request&) {
    Reply reply{.json = "{\"a\": 1}", .descriptors = {}};
    for (std::size_t i = 0; i < kMany; ++i) {
      int ends[2];
      EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
      reply.descriptors.emplace_back(ends[0]);
      const base::Fd other(ends[1]);
      sent.push_back(identity(reply.descriptors.back()));
    }
    return reply;
  };
  serve(*server, answer, [&] {
    const auto told = ask(path_, "pipes");
    ASSERT_TRUE(told) << told.error().text();
    EXPECT_EQ(told->json, "{\"a\": 1}\n");
    std::vector<ino_t> came;
    for (const base::Fd& descriptor : told->descriptors) came.push_back(identity(descriptor));
    EXPECT_EQ(came, sent);
  });
}

TEST_F(AdminTest, AnErrorOfTheServiceIsTheErrorOfTheQuestion) {
  auto server = Server::open(path_);
  ASSERT_TRUE(server);
  const auto answer = [](const Request&) { return Reply::error("no \"such\" thing"); };
  serve(*server, answer, [&] { EXPECT_EQ(ask(path_, "x").error().text(), "no \"such\" thing"); });
}

TEST_F(AdminTest, WhoeverSaysNothingIsLeftAtTheDeadline) {
  auto server = Server::open(path_);
  ASSERT_TRUE(server);
  EXPECT_EQ(server->next_deadline(), base::Instant::max());
  const base::Fd silent(::socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  path_.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::connect(silent.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  const base::Instant begun = base::now();
  const auto nobody = [](const Request&) { return Reply::error("asked"); };
  server->serve(begun, nobody);
  EXPECT_EQ(server->next_deadline(), begun + Server::kPatience);
  server->serve(begun + Server::kPatience, nobody);
  EXPECT_EQ(server->next_deadline(), base::Instant::max());
  char byte = 0;
  EXPECT_EQ(::recv(silent.get(), &byte, 1, MSG_DONTWAIT), 0);
}

TEST_F(AdminTest, AQuestionThatNobodyAnswersEnds) {
  const auto server = Server::open(path_);
  ASSERT_TRUE(server);
  EXPECT_EQ(ask(path_, "x", base::Milliseconds(50)).error().fault, Fault::kTimedOut);
  EXPECT_EQ(ask(folder_ + "/none", "x").error().fault, Fault::kRefused);
  EXPECT_EQ(ask("relative", "x").error().fault, Fault::kInvalid);
}

TEST_F(AdminTest, ASocketIsTakenOnlyFromTheDead) {
  {
    auto first = Server::open(path_);
    ASSERT_TRUE(first);
    EXPECT_NE(Server::open(path_).error().text().find("another service answers"), std::string::npos);
    struct stat status{};
    ASSERT_EQ(::stat(path_.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600u);
    first->abandon();  // as a child does: the file stays, and now nobody answers
  }
  EXPECT_TRUE(std::filesystem::exists(path_));
  EXPECT_TRUE(Server::open(path_));
  EXPECT_FALSE(std::filesystem::exists(path_));
  {
    const base::Fd file(::open(path_.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  }
  EXPECT_NE(Server::open(path_).error().text().find("no socket"), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST(Channel, BringsAnOrderWithItsDescriptor) {
  auto channel = make_channel();
  ASSERT_TRUE(channel);
  EXPECT_FALSE(receive(channel->worker.get()).value());
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  base::Fd read_end(ends[0]);
  const ino_t sent = identity(read_end);
  ASSERT_TRUE(send(channel->master.get(), {Order::kListFlows, base::Fd(ends[1])}));
  {
    const auto command = receive(channel->worker.get());
    ASSERT_TRUE(command && *command);
    EXPECT_EQ((*command)->order, Order::kListFlows);
    EXPECT_EQ(identity((*command)->descriptor), sent);
  }
  char byte = 0;
  EXPECT_EQ(::read(read_end.get(), &byte, 1), 0) << "somebody else still has the other end";
  channel->master.reset();
  EXPECT_EQ(receive(channel->worker.get()).error().fault, Fault::kClosed);
}

TEST(Channel, TellsOrdersApartAndIgnoresUnknownOnes) {
  auto channel = make_channel();
  ASSERT_TRUE(channel);
  for (const Order order : {Order::kAccessLog, Order::kListFlows}) {
    ASSERT_TRUE(send(channel->master.get(), {order, base::Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC))}));
    EXPECT_EQ(receive(channel->worker.get()).value().value().order, order);
  }
  ASSERT_TRUE(send(channel->master.get(),
                   {static_cast<Order>(99), base::Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC))}));
  EXPECT_FALSE(receive(channel->worker.get()).value());
}

TEST(Channel, ThatIsFullSaysSo) {
  auto channel = make_channel();
  ASSERT_TRUE(channel);
  base::Result<void> sent;
  for (int i = 0; sent && i < 100'000; ++i) {
    sent =
        send(channel->master.get(), {Order::kListFlows, base::Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC))});
  }
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().fault, Fault::kExhausted) << sent.error().text();
}

}  // namespace
}  // namespace tlsplice::admin
