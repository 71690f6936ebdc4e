// Promised: what io_uring is said to have is what a ring of ours uses, and a refusal says for people who
// refuses. The words of a refusal by seccomp and by sysctl are tested on the whole program (tests/e2e).
#include "tlsplice/uring/support.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cerrno>

#include "../base/child.hpp"

namespace tlsplice::uring {
namespace {

TEST(Support, IsSufficientWhereTheTestsRun) {
  const Support support = probe();
  EXPECT_EQ(support.error, 0) << refusal(support.error).text();
  EXPECT_TRUE(support.sufficient());
}

TEST(Support, WithoutOneOperationIsNot) {
  Support support = probe();
  support.connect = false;
  EXPECT_FALSE(support.sufficient());
  support = probe();
  support.error = EPERM;
  EXPECT_FALSE(support.sufficient());
}

TEST(Support, TellsWhyThereIsNoRing) {
  EXPECT_EQ(tests::in_child([] {
              const rlimit none{.rlim_cur = 0, .rlim_max = 0};
              if (::setrlimit(RLIMIT_NOFILE, &none) != 0) return std::string("setrlimit");
              return std::string(probe().error == EMFILE ? "" : "not EMFILE");
            }),
            "");
}

TEST(Refusal, KeepsTheErrnoAndSaysMore) {
  EXPECT_EQ(refusal(ENOMEM).fault, base::Fault::kExhausted);
  EXPECT_NE(refusal(ENOMEM).text().find("ulimit -l"), std::string::npos);
  EXPECT_EQ(refusal(EPERM).errnum, EPERM);
  EXPECT_TRUE(refusal(EMFILE).text().starts_with("io_uring_setup: "));
}

}  // namespace
}  // namespace tlsplice::uring
