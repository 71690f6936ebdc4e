#include "stop.hpp"

#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>

#include "tlsplice/base/expect.hpp"

namespace tlsplice::load {

StopSignals::StopSignals(Loop& loop) {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGINT);
  ::sigaddset(&set, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  signals_ = base::Fd(::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
  TLSPLICE_EXPECT(signals_, "signalfd failed");
  loop.watch(signals_.get(), *this);
}

void StopSignals::on_ready() {
  signalfd_siginfo information;
  asked_ = ::read(signals_.get(), &information, sizeof information) == sizeof information || asked_;
}

// Only what can be waited for is watched: with /dev/null, say, signals alone end it.
StopLine::StopLine(Loop& loop) : loop_(loop) {
  struct stat input{};
  const bool waits = ::fstat(STDIN_FILENO, &input) == 0 &&
                     (S_ISFIFO(input.st_mode) || S_ISSOCK(input.st_mode) || ::isatty(STDIN_FILENO) == 1);
  if (waits) loop.watch(STDIN_FILENO, *this);
}

StopLine::~StopLine() {
  loop_.forget(STDIN_FILENO);
}

}  // namespace tlsplice::load
