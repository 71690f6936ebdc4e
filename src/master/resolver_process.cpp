#include "resolver_process.hpp"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstdlib>

#include "privileges.hpp"
#include "tlsplice/resolver/report.hpp"
#include "tlsplice/resolver/resolver.hpp"

namespace tlsplice::master {
namespace {

// One that talks without end does not keep the master from its other work.
constexpr int kReportsATurn = 64;

bool same(const ResolverProcess::Task& one, const ResolverProcess::Task& other) {
  return one.names == other.names && one.user == other.user && one.log.level == other.log.level &&
         one.log.format == other.log.format;
}

std::string list_of(const std::vector<std::string>& addresses) {
  std::string list;
  for (const std::string& address : addresses) list += (list.empty() ? "" : " ") + address;
  return list.empty() ? "-" : list;
}

}  // namespace

void ResolverProcess::step(Task task, base::Instant now) {
  if (!task_ || !same(*task_, task)) {
    if (!task_ && task.names.empty()) return;
    channel_.reset();
    process_.replace(now);
    task_.reset();
    if (task.names.empty()) return;
    task_ = std::move(task);
  }
  if (now < process_.next_start()) return;
  std::array<int, 2> ends = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) != 0)
    return log_.error("resolver_fork_failed",
                      {{"error", base::Error::system("open a channel", errno).text()}});
  channel_ = base::Fd(ends[0]);
  base::Fd other(ends[1]);
  process_.start_due(now, log_, [&](pid_t master) { become_resolver(std::move(other), master); });
}

/// In the child. It reads what strangers answer, so it has nothing that could be taken from it.
void ResolverProcess::become_resolver(base::Fd channel, pid_t master) {
  abandon_();
  base::Log log(log_fd_, task_->log.level, task_->log.format);
  const auto identity = identity_of(task_->user);
  const auto dropped =
      identity ? drop_privileges(*identity, master) : base::Result<void>(base::fail(identity.error()));
  if (!dropped) {
    log.error("resolver_failed", {{"error", dropped.error().text()}});
    std::exit(1);
  }
  resolver::Setup setup{.channel = std::move(channel), .names = {}, .log = log};
  for (const std::string& name : task_->names) setup.names.emplace(name, names_.addresses(name));
  std::exit(resolver::run(std::move(setup)));
}

void ResolverProcess::watch(std::vector<pollfd>& watched) const {
  watched.push_back({.fd = channel_.get(), .events = POLLIN, .revents = 0});
}

bool ResolverProcess::hear() {
  bool news = false;
  std::array<char, resolver::kReportMax + 1> packet{};
  for (int i = 0; i < kReportsATurn && channel_; ++i) {
    const ssize_t size = ::recv(channel_.get(), packet.data(), packet.size(), MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) break;
    if (size <= 0) {
      channel_.reset();  // it ends, or sees that by this
      break;
    }
    const std::string_view report(packet.data(), static_cast<std::size_t>(size));
    switch (names_.hear(report)) {
      case Names::Heard::kNothingNew:
        continue;
      case Names::Heard::kNonsense:
        log_.error("resolver_not_trusted", {{"why", "it reports what no name server can have said to it"}});
        channel_.reset();
        process_.kill();
        break;
      case Names::Heard::kNews: {
        const std::string name(report.substr(0, report.find(' ')));
        log_.info("name", {{"name", name}, {"addresses", list_of(names_.addresses(name))}});
        news = true;
      }
    }
  }
  return news;
}

bool ResolverProcess::bury(pid_t process, int status, base::Instant now) {
  const ChildProcess::Death death = process_.bury(process, status, now, log_);
  if (death == ChildProcess::Death::kUntimely) channel_.reset();
  return death != ChildProcess::Death::kNotOurs;
}

}  // namespace tlsplice::master
