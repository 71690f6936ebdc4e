// A worker as the master starts it, in a forked child, with a listening socket, a TCP target played by the
// test, shared counters and its log in a pipe. The test plays the clients too, on blocking sockets.
#pragma once

#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <csignal>
#include <string>

#include "../base/child.hpp"
#include "../tls/loopback.hpp"
#include "tlsplice/admin/channel.hpp"
#include "tlsplice/worker/worker.hpp"

namespace tlsplice::tests {

struct Terms {
  std::uint32_t max_flows = 1000;
  base::Milliseconds drain_timeout = kPatience;
  rlim_t descriptors = 0;  // 0: as many as the test has
};

class RunningWorker {
 public:
  explicit RunningWorker(Terms terms = {}) : target_(listening(0, 1024)) {
    limit_waiting(target_.get());
    auto listener = net::listen(*net::Address::parse("127.0.0.1", 0));
    TLSPLICE_EXPECT(listener.has_value(), "the tests can listen on loopback");
    address_ = net::local_address(listener->get());
    ready_ = base::Fd(::eventfd(0, EFD_CLOEXEC));
    process_ = ::fork();
    TLSPLICE_EXPECT(process_ >= 0, "the tests can fork");
    if (process_ == 0) ::_exit(run(std::move(*listener), terms));
    log_.write_end.reset();
    listener->reset();
    eventfd_t accepting = 0;
    TLSPLICE_EXPECT(::eventfd_read(ready_.get(), &accepting) == 0, "a worker is ready");
    TLSPLICE_EXPECT(admin::send(channel_.master.get(), {admin::Order::kServe}).has_value(), "it is told so");
  }
  ~RunningWorker() {
    if (process_ <= 0) return;
    ::kill(process_, SIGKILL);
    (void)end_of(process_);
  }
  RunningWorker(const RunningWorker&) = delete;
  RunningWorker& operator=(const RunningWorker&) = delete;

  /// A client's connection.
  base::Fd dial() const { return tests::dial(address_); }
  /// The worker's next connection to its target.
  base::Fd next_at_target() const {
    base::Fd socket(::accept4(target_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    TLSPLICE_EXPECT(socket, "the worker connects to its target");
    limit_waiting(socket.get());
    return socket;
  }
  void send(int signal) const { ::kill(process_, signal); }
  /// "" when it ended by itself with status 0.
  std::string end() {
    const std::string how = end_of(process_);
    process_ = -1;
    return how;
  }
  /// Everything it said. Only after its end.
  std::string said() const { return read_to_end(log_.read_end.get()); }
  /// What it says of its load, and what the steering program says that it gave to it.
  tlsplice_worker_load& load() { return loads_[0]; }
  __u64 count(observe::Counter counter) const { return table_.sum(counter); }
  /// Whether anybody listens on its address. Connects to nobody: that would be one more flow.
  bool listens() const { return !net::expect_free(address_).has_value(); }

 private:
  int run(base::Fd listener, Terms terms) {
    sigset_t signals;
    sigemptyset(&signals);
    for (const int signal : {SIGHUP, SIGTERM, SIGQUIT}) sigaddset(&signals, signal);
    ::sigprocmask(SIG_BLOCK, &signals, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
    target_address_ = net::local_address(target_.get());
    target_.reset();
    if (terms.descriptors != 0) {
      const rlimit limit{.rlim_cur = terms.descriptors, .rlim_max = terms.descriptors};
      ::setrlimit(RLIMIT_NOFILE, &limit);
    }
    const auto context = tls::Context::client();
    const ktls::Support kernel;
    const session::Service service = make_service();
    std::vector<worker::Door> doors;
    doors.push_back({std::move(listener), &service});
    return worker::run(
        {.index = 0,
         .doors = std::move(doors),
         .log = base::Log(log_.write_end.get(), base::LogLevel::kInfo, base::LogFormat::kLogfmt),
         .counters = table_,
         .load = steering::WorkerLoad(loads_[0]),
         .steering = outcomes_,
         .health = health_,
         .target_context = *context,
         .kernel = kernel,
         .flow_hash_seed = 1,
         .max_flows = terms.max_flows,
         .drain_timeout = terms.drain_timeout,
         .ready = ready_.get(),
         .channel = std::move(channel_.worker)});
  }
  session::Service make_service() const {
    session::Service service;
    service.name = "web";
    service.protocol = policy::Protocol::kTcp;
    service.shares = {{.group = {.name = "app", .targets = {target_address_}, .connect_timeout = kPatience}}};
    service.handshake_timeout = kPatience;
    service.relay.idle = kPatience;
    return service;
  }

  base::Fd target_;
  net::Address target_address_;
  net::Address address_;
  base::Fd ready_;
  admin::Channel channel_ = std::move(*admin::make_channel());
  Pipe log_;
  steering::Loads loads_ = std::move(*steering::Loads::create(1));
  steering::Outcomes outcomes_ = std::move(*steering::Outcomes::create(1));
  observe::CounterTable table_ = std::move(*observe::CounterTable::create(1));
  targets::HealthTable health_ =
      std::move(*targets::HealthTable::create(std::vector<targets::WatchedGroup>(1)));
  pid_t process_ = -1;
};

}  // namespace tlsplice::tests
