#include "tlsplice/observe/access_log.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

#include "tlsplice/base/log.hpp"

namespace tlsplice::observe {
namespace {

constexpr mode_t kMode = 0640;  // of a file that is made: who talks to whom is not for everybody

/// A socket (systemd's stdout is one) would make a write wait; everything else that could polls first.
ssize_t write_now(int fd, std::string_view text) {
  const ssize_t sent = ::send(fd, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent >= 0 || errno != ENOTSOCK) return sent;
  return ::write(fd, text.data(), text.size());
}

/// Whether a line would go on where a piece of another one stands: a disk that filled up took half of it.
bool ends_within_a_line(int fd) {
  struct stat about{};
  char last = '\n';
  if (::fstat(fd, &about) != 0 || !S_ISREG(about.st_mode) || about.st_size == 0) return false;
  return ::pread(fd, &last, 1, about.st_size - 1) == 1 && last != '\n';
}

}  // namespace

base::Result<base::Fd> open_access_log(const std::string& place) {
  if (place == "stdout") {
    base::Fd fd = base::open_log_pipe(STDOUT_FILENO);
    if (!fd) fd = base::Fd(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0));
    if (!fd) return base::fail(base::Error::system("open stdout for the access log", errno));
    return fd;
  }
  // For reading too: a FIFO can then be opened while nobody reads it, and keeps what fits until somebody
  // does (fifo(7)); and of a file the last byte can be seen.
  base::Fd fd(::open(place.c_str(), O_RDWR | O_APPEND | O_CREAT | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, kMode));
  if (!fd) return base::fail(base::Error::system("open the access log " + place, errno));
  return fd;
}

void AccessLog::write(const FlowRecord& record, std::string_view certificate, base::Instant now) {
  if (!fd_) return;
  if (!put(access_log_line(format_, record, {load_balancer_, certificate}, now,
                           std::chrono::system_clock::now()))) {
    ++dropped_;
  }
}

/// A pipe that polls writable has room for PIPE_BUF bytes, and takes them in one piece (pipe(7)).
bool AccessLog::put(std::string line) {
  if (interrupted_ && ends_within_a_line(fd_.get())) line.insert(0, "\n");
  pollfd writable{.fd = fd_.get(), .events = POLLOUT, .revents = 0};
  if (line.size() > PIPE_BUF || ::poll(&writable, 1, 0) != 1 || (writable.revents & POLLOUT) == 0)
    return false;
  interrupted_ = write_now(fd_.get(), line) != std::ssize(line);
  return !interrupted_;
}

}  // namespace tlsplice::observe
