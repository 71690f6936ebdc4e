#include "stop.hpp"

#include <sys/signalfd.h>
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

// A pipe, a terminal, a socket: what can be waited for. /dev/null and files are ready at once, but epoll does
// not take them.
StopLine::StopLine(Loop& loop) : input_(::dup(STDIN_FILENO)) {
  if (!input_ || ::isatty(input_.get()) == 1 || ::lseek(input_.get(), 0, SEEK_CUR) == -1) {
    if (input_) loop.watch(input_.get(), *this);
  }
}

}  // namespace tlsplice::load
