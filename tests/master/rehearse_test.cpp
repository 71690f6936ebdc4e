// Promised: what is rehearsed has a worker's rights and none more, its findings come back through shared
// memory, and a rehearsal that dies is an error.
#include "tlsplice/master/rehearse.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

namespace tlsplice::master {
namespace {

struct Rights {
  uid_t user = 0;
  int no_new_privs = -1;
  pid_t process = 0;
};

TEST(Rehearse, HasAWorkersRights) {
  void* memory = ::mmap(nullptr, sizeof(Rights), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto* rights = new (memory) Rights;
  const auto done = rehearse(
      "", [rights] { *rights = {::geteuid(), ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), ::getpid()}; });
  ASSERT_TRUE(done.has_value()) << done.error().text();
  EXPECT_NE(rights->user, 0U);
  EXPECT_EQ(rights->no_new_privs, 1);
  EXPECT_NE(rights->process, ::getpid());
  EXPECT_EQ(::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
  ::munmap(memory, sizeof(Rights));
}

TEST(Rehearse, OneThatDiesIsAnError) {
  const auto done = rehearse("", [] { ::_exit(3); });
  ASSERT_FALSE(done.has_value());
  EXPECT_NE(done.error().text().find("worker's rights"), std::string::npos);
}

TEST(Rehearse, AUserWhoIsNotThereIsNamed) {
  const auto done = rehearse("no-such-user", [] {});
  ASSERT_FALSE(done.has_value());
  EXPECT_NE(done.error().text().find("no-such-user"), std::string::npos);
}

}  // namespace
}  // namespace tlsplice::master
