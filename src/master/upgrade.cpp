#include "upgrade.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <sstream>
#include <utility>

namespace tlsplice::master {

using base::Error;
using base::Result;

namespace {

/// As it was started, which may be a link; without a slash it came from the PATH.
std::string program_path() {
  std::error_code error;
  const std::filesystem::path name = ::program_invocation_name;
  if (name.has_parent_path()) return std::filesystem::absolute(name, error);
  return std::filesystem::read_symlink("/proc/self/exe", error);
}

std::vector<std::string> lines_of(int fd) {
  std::string text(64 * 1024, '\0');
  const ssize_t size = ::pread(fd, text.data(), text.size(), 0);
  text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

}  // namespace

Upgrade::Upgrade(base::Log& log) : log_(log), program_(program_path()) {}

void Upgrade::begin(const std::filesystem::path& config, Failed failed) {
  if (under_way()) return failed("another upgrade is under way");
  log_.info("upgrading", {{"program", program_}});
  failed_ = std::move(failed);
  output_ = base::Fd(::memfd_create("tlsplice-check", MFD_CLOEXEC));
  if (!output_) return give_up({Error::system("make room for what the program says", errno).text()});
  const char* const arguments[] = {program_.c_str(), "check", "-c", config.c_str(), nullptr};
  process_ = ::fork();
  if (process_ < 0) return give_up({Error::system("fork", errno).text()});
  if (process_ == 0) {
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::dup2(output_.get(), STDOUT_FILENO);
    ::dup2(output_.get(), STDERR_FILENO);
    ::execv(program_.c_str(), const_cast<char* const*>(arguments));
    ::dprintf(STDERR_FILENO, "%s: errno %d\n", program_.c_str(), errno);
    ::_exit(1);
  }
  give_up_at_ = base::now() + kPatience;
}

bool Upgrade::bury(pid_t process, int status, const std::function<void()>& go_on) {
  if (process != process_) return false;
  process_ = -1;
  std::vector<std::string> said;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    said = lines_of(output_.get());
    if (said.empty()) said.push_back(fmt::format("{} check: wait status {}", program_, status));
  }
  output_.reset();
  if (said.empty()) {
    go_on();
  } else {
    give_up(said);
  }
  return true;
}

void Upgrade::give_up(const std::vector<std::string>& lines) {
  std::string all;
  for (const std::string& line : lines) {
    log_.error("not_upgraded", {{"error", line}});
    all += (all.empty() ? "" : "\n  ") + line;
  }
  if (failed_) std::exchange(failed_, nullptr)(all);
}

void Upgrade::watch(base::Instant now) {
  if (!under_way() || now < give_up_at_) return;
  ::kill(process_, SIGKILL);
  give_up_at_ = base::Instant::max();
}

Error Upgrade::replace(const Bequest& bequest, const std::filesystem::path& config) const {
  if (auto left = leave(bequest); !left) return left.error();
  const char* const arguments[] = {program_.c_str(), "run", "-c", config.c_str(), nullptr};
  ::execv(program_.c_str(), const_cast<char* const*>(arguments));
  const int error = errno;
  take_back(bequest);
  return Error::system(fmt::format("execute {}", program_), error);
}

}  // namespace tlsplice::master
