#include "child_process.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <ctime>
#include <utility>

#include "tlsplice/base/result.hpp"

namespace tlsplice::master {

using base::Error;
using base::Milliseconds;

void ChildProcess::start_due(base::Instant now, base::Log& log, const std::function<void(pid_t)>& body) {
  if (now < next_start()) return;
  const pid_t master = ::getpid();
  const pid_t process = ::fork();
  if (process == 0) {
    body(master);
    ::_exit(1);
  }
  if (process < 0) {
    due_ = now + Backoff::kFirstPause;
    return log.error(name_ + "_fork_failed", {{"error", Error::system("fork", errno).text()}});
  }
  process_ = process;
  started_ = now;
  log.info(name_ + "_started", {{(name_ + "_pid").c_str(), process}});
}

void ChildProcess::replace(base::Instant now) {
  due_ = now;
  if (!runs()) return;
  replaced_ = true;
  ::kill(process_, SIGTERM);
}

void ChildProcess::kill() const {
  if (runs()) ::kill(process_, SIGKILL);
}

ChildProcess::Death ChildProcess::bury(pid_t process, int status, base::Instant now, base::Log& log) {
  if (process != process_) return Death::kNotOurs;
  process_ = -1;
  due_ = now;
  if (std::exchange(replaced_, false)) return Death::kReplaced;
  const auto lived = std::chrono::duration_cast<Milliseconds>(now - started_);
  const Milliseconds pause = backoff_.after_death(lived);
  due_ = now + pause;
  log.error(name_ + "_died", {{(name_ + "_pid").c_str(), process},
                              {WIFSIGNALED(status) ? "signal" : "status",
                               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)},
                              {"lived_ms", lived.count()},
                              {"pause_ms", pause.count()}});
  return Death::kUntimely;
}

void ChildProcess::end() {
  if (!runs()) return;
  ::kill(process_, SIGTERM);
  sigset_t child_ended;
  sigemptyset(&child_ended);
  sigaddset(&child_ended, SIGCHLD);
  const base::Instant limit = base::now() + kGrace;
  while (::waitpid(process_, nullptr, WNOHANG) == 0) {
    const auto left = std::chrono::nanoseconds(limit - base::now()).count();
    if (left <= 0) {
      ::kill(process_, SIGKILL);
      ::waitpid(process_, nullptr, 0);
      break;
    }
    const timespec wait{.tv_sec = left / 1'000'000'000, .tv_nsec = left % 1'000'000'000};
    ::sigtimedwait(&child_ended, nullptr, &wait);
  }
  process_ = -1;
}

}  // namespace tlsplice::master
