// What must not happen to the test's own process (limits, privileges, exhausted memory) happens in a forked
// child. The child answers with a sentence; an empty one means that all went well.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "tlsplice/base/expect.hpp"
#include "tlsplice/base/fd.hpp"

namespace tlsplice::tests {

struct Pipe {
  Pipe() {
    int ends[2] = {-1, -1};
    TLSPLICE_EXPECT(::pipe(ends) == 0, "the tests can open a pipe");
    read_end = base::Fd(ends[0]);
    write_end = base::Fd(ends[1]);
  }
  base::Fd read_end;
  base::Fd write_end;
};

inline std::string read_to_end(int fd) {
  std::string text;
  char piece[4096];
  for (ssize_t n = ::read(fd, piece, sizeof piece); n > 0; n = ::read(fd, piece, sizeof piece)) {
    text.append(piece, static_cast<std::size_t>(n));
  }
  return text;
}

/// "" when the child exited with 0, else how it ended.
inline std::string end_of(pid_t child) {
  int status = 0;
  if (::waitpid(child, &status, 0) != child) return "no such child";
  if (WIFSIGNALED(status)) return "signal " + std::to_string(WTERMSIG(status));
  return WEXITSTATUS(status) == 0 ? "" : "status " + std::to_string(WEXITSTATUS(status));
}

/// Runs `body`, which returns a std::string, in a child; returns what it said, or how it died.
template <typename Body>
std::string in_child(Body body) {
  Pipe answer;
  const pid_t child = ::fork();
  TLSPLICE_EXPECT(child >= 0, "the tests can fork");
  if (child == 0) {
    const std::string said = body();
    const ssize_t written = ::write(answer.write_end.get(), said.data(), said.size());
    ::_exit(written == static_cast<ssize_t>(said.size()) ? 0 : 1);
  }
  answer.write_end.reset();
  const std::string said = read_to_end(answer.read_end.get());
  return said + end_of(child);
}

}  // namespace tlsplice::tests
