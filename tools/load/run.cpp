#include "run.hpp"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <optional>

namespace tlsplice::load {
namespace {

double seconds_between(base::Instant from, base::Instant to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

base::Result<net::Address> parse_address(const std::string& text) {
  const auto wrong = [&text] {
    return base::fail(base::Error::invalid(
        fmt::format("'{}' is no address and port; for instance 127.0.0.1:8443 or [::1]:8443", text)));
  };
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos) return wrong();
  std::string host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  std::uint16_t port = 0;
  const char* const end = text.data() + text.size();
  const auto [last, error] = std::from_chars(text.data() + colon + 1, end, port);
  if (error != std::errc() || last != end) return wrong();
  auto address = net::Address::parse(host, port);
  if (!address) return wrong();
  return address;
}

int cannot(const base::Error& error) {
  fmt::print(stderr, "tlsplice-load: {}\n", error.text());
  return kExitFailed;
}

void prepare_process() {
  (void)std::signal(SIGPIPE, SIG_IGN);
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

base::Result<std::unique_ptr<Run>> Run::begin(std::string name, const ClientOptions& options,
                                              std::uint64_t flows, Crew::MakeTalk make_talk) {
  prepare_process();
  auto address = parse_address(options.connect);
  if (!address) return base::fail(address.error());
  Peer peer{.address = *address, .tls = nullptr};
  if (options.tls) {
    auto context = client_context(options.tls_options);
    if (!context) return base::fail(context.error());
    peer.tls = *std::move(context);
  }
  return std::make_unique<Run>(std::move(name), options, std::move(peer), flows, std::move(make_talk));
}

Run::Run(std::string name, const ClientOptions& options, Peer peer, std::uint64_t flows,
         Crew::MakeTalk make_talk)
    : name_(std::move(name)),
      peer_(std::move(peer)),
      loop_(std::chrono::seconds(options.stall_seconds)),
      stop_(loop_),
      crew_(loop_, peer_, flows, std::move(make_talk)),
      started_(base::now()),
      next_progress_(started_),
      wants_progress_(::isatty(STDERR_FILENO) == 1) {}

bool Run::turn(std::uint64_t at_once, base::Milliseconds most) {
  if (stop_.asked() || crew_.finished()) return false;
  crew_.fill(at_once);
  if (!crew_.finished()) loop_.turn(most);
  if (wants_progress_) show_progress();
  return true;
}

void Run::hold(std::chrono::nanoseconds duration) {
  std::optional<StopLine> line;
  base::Instant until = base::Instant::max();
  if (duration.count() > 0) {
    until = base::now() + duration;
  } else {
    line.emplace(loop_);
  }
  while (loop_.now() < until && !(line && line->asked()) && !stop_.asked() && !crew_.finished()) {
    loop_.turn();
    if (wants_progress_) show_progress();
  }
  stop_.forget();
}

int Run::finish(const std::string& more) {
  const double seconds = seconds_between(started_, base::now());
  if (wants_progress_) fmt::print(stderr, "\r\033[K");
  const Tally& tally = crew_.end("ended before it was done");
  fmt::print("{}", json_line(name_, tally, seconds, more));
  return tally.ok() ? kExitDone : kExitFailed;
}

void Run::show_progress() {
  const base::Instant now = loop_.now();
  if (now < next_progress_) return;
  next_progress_ = now + std::chrono::seconds(1);
  const Tally& tally = crew_.tally();
  fmt::print(stderr, "\r\033[K{}: {:.0f} s, {} flows begun, {} open, {} failed, {} measured", name_,
             seconds_between(started_, now), tally.flows, crew_.open(), tally.failed,
             tally.latencies.count());
}

int run_to_the_end(const std::string& name, const ClientOptions& options, std::uint64_t flows,
                   std::uint64_t at_once, Crew::MakeTalk make_talk) {
  auto run = Run::begin(name, options, flows, std::move(make_talk));
  if (!run) return cannot(run.error());
  while ((*run)->turn(at_once)) continue;
  return (*run)->finish();
}

}  // namespace tlsplice::load
