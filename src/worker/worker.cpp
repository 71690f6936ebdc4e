#include "tlsplice/worker/worker.hpp"

#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <utility>

#include "admission.hpp"
#include "listing.hpp"
#include "tlsplice/admin/channel.hpp"
#include "tlsplice/net/socket.hpp"
#include "tlsplice/uring/ops.hpp"

namespace tlsplice::worker {
namespace {

using uring::Task;

// Connections taken from one listening socket before the flows have a turn.
constexpr int kAcceptsPerTurn = 64;
// After the kernel had neither memory nor a descriptor for a connection.
constexpr base::Milliseconds kShortagePause{50};
// The longest pause between two heartbeats; a quarter of what makes the steering program look elsewhere.
constexpr base::Milliseconds kBeat{250};

// `tlsplice flows` that are being answered at the same time. A further one gets no list.
constexpr std::size_t kListingsMax = 4;

class Worker {
 public:
  Worker(Setup& setup, uring::Ring& ring, base::Fd signals);
  base::Result<void> run();

 private:
  Task<void> serve();
  Task<void> limit_drain();
  Task<void> end_flows(std::size_t target);
  void end_share(std::size_t listener, std::size_t group);
  Task<void> obey_signals();
  Task<void> obey_master();
  bool hear_master();
  void obey(admin::Command& command);
  Task<void> accept_from(Door& door);
  Task<void> beat();
  Task<void> sweep();
  bool accept_some(Door& door);
  __u64 unsteered() const;
  void admit(net::Accepted accepted, const session::Service& service);
  void count_dropped_lines();
  Task<void> run_flow(net::Accepted accepted, const session::Service& service);

  Setup& setup_;
  uring::Ring& ring_;
  base::Fd signals_;
  uring::Stop stop_control_;
  uring::Stop stop_accepting_;
  uring::Stop stop_flows_;
  uring::Gate all_;
  uring::Gate accepting_;
  uring::Gate flows_;
  uring::Gate listings_;
  relay::Pools pools_;
  session::LiveFlows live_;
  session::TargetStops target_stops_;
  session::Surroundings here_;
  Admission admission_;
  bool serving_ = false;          // it was told to
  bool kernel_is_short_ = false;  // of memory or descriptors, beyond what refusing could mend
  std::uint64_t dropped_lines_ = 0;
  std::uint64_t dropped_access_lines_ = 0;
};

Worker::Worker(Setup& setup, uring::Ring& ring, base::Fd signals)
    : setup_(setup),
      ring_(ring),
      signals_(std::move(signals)),
      all_(ring),
      accepting_(ring),
      flows_(ring),
      listings_(ring),
      target_stops_(stop_flows_, setup.counters.listener_rows().size() / setup.counters.stride(),
                    setup.counters.target_rows().size() / setup.counters.stride()),
      here_{.ring = ring,
            .stop = stop_flows_,
            .log = setup.log,
            .counters = setup.counters.worker(setup.index),
            .pools = pools_,
            .flows = live_,
            .health = setup.health,
            .target_context = setup.target_context,
            .kernel = setup.kernel,
            .records_per_key = setup.records_per_key,
            .flow_hash_seed = setup.flow_hash_seed,
            .access_log = &setup.access_log,
            .target_stops = &target_stops_},
      admission_(setup.counters, here_.counters, setup.log, setup.max_flows) {}

base::Result<void> Worker::run() {
  setup_.load.begin(ring_.now());
  uring::spawn(all_, obey_signals());
  uring::spawn(all_, obey_master());
  uring::spawn(all_, beat());
  ::eventfd_write(setup_.ready, 1);
  while (all_.inside() + listings_.inside() > 0) {
    if (auto round = ring_.run_once(); !round) return round;
    setup_.load.beat(ring_.now(), flows_.inside());
    setup_.load.handshakes(here_.counters.get(&tlsplice_counters::ClientTLSHandshakeCount));
    count_dropped_lines();
  }
  return {};
}

void Worker::count_dropped_lines() {
  const std::uint64_t dropped = setup_.log.dropped();
  here_.counters.add(&tlsplice_counters::DroppedLogLineCount,
                     dropped - std::exchange(dropped_lines_, dropped));
  const std::uint64_t of_access = setup_.access_log.dropped();
  here_.counters.add(&tlsplice_counters::DroppedAccessLogLineCount,
                     of_access - std::exchange(dropped_access_lines_, of_access));
}

/// The worker's life: accept until told otherwise, then let the flows end.
Task<void> Worker::serve() {
  for (Door& door : setup_.doors) uring::spawn(accepting_, accept_from(door));
  co_await accepting_.empty();
  setup_.load.closed_doors();
  co_await flows_.empty();
  stop_control_.request();
}

Task<void> Worker::limit_drain() {
  co_await uring::Sleep(ring_, stop_control_, setup_.drain_timeout);
  stop_flows_.request();
}

Task<void> Worker::end_flows(std::size_t target) {
  target_stops_.request(target);
  const std::size_t row = target * setup_.counters.stride() + setup_.index;
  const auto active = [&] { return base::shared_get(setup_.counters.target_rows()[row].ActiveFlowCount); };
  while (active() > 0 && !stop_control_.requested()) co_await uring::Sleep(ring_, stop_control_, kBeat);
  if (active() == 0) target_stops_.renew(target);
}

/// For this worker the listener has stopped forwarding there: its successors have their own shares.
void Worker::end_share(std::size_t listener, std::size_t group) {
  for (const Door& door : setup_.doors) {
    if (door.service->row != listener) continue;
    for (const targets::Share& share : door.service->shares) {
      if (share.group_row == group)
        target_stops_.request_for_good(listener, share.target_row, share.group.targets.size());
    }
  }
}

Task<void> Worker::obey_signals() {
  for (bool draining = false;;) {
    if (co_await uring::readable(ring_, stop_control_, signals_.get()) < 0) co_return;
    signalfd_siginfo signal{};
    if (::read(signals_.get(), &signal, sizeof signal) != static_cast<ssize_t>(sizeof signal)) continue;
    hear_master();  // to serve was said before the signal: who waits in the queues is served
    if (!stop_accepting_.requested()) setup_.load.drain();
    stop_accepting_.request();
    if (signal.ssi_signo == SIGQUIT) stop_flows_.request();
    if (signal.ssi_signo == SIGTERM && !std::exchange(draining, true)) uring::spawn(all_, limit_drain());
    if (!serving_) stop_control_.request();
  }
}

Task<void> Worker::obey_master() {
  for (;;) {
    if (co_await uring::readable(ring_, stop_control_, setup_.channel.get()) < 0) co_return;
    if (!hear_master()) co_return;
  }
}

/// All that it has said; false when it is gone.
bool Worker::hear_master() {
  for (;;) {
    auto command = admin::receive(setup_.channel.get());
    if (!command) return false;
    if (!*command) return true;
    obey(**command);
  }
}

void Worker::obey(admin::Command& command) {
  switch (command.order) {
    case admin::Order::kServe:
      if (!std::exchange(serving_, true)) uring::spawn(all_, serve());
      return;
    case admin::Order::kEndFlows:
      if (command.number < target_stops_.targets()) uring::spawn(all_, end_flows(command.number));
      return;
    case admin::Order::kEndShare:
      return end_share(command.number >> 16, command.number & 0xffffU);
    case admin::Order::kAccessLog:
      return setup_.access_log.replace(std::move(command.descriptor));
    case admin::Order::kListFlows:
      if (listings_.inside() >= kListingsMax) return;
      uring::spawn(listings_,
                   list_flows(ring_, stop_control_, live_, std::move(command.descriptor), setup_.index));
  }
}

Task<void> Worker::accept_from(Door& door) {
  while (!stop_accepting_.requested()) {
    co_await uring::readable(ring_, stop_accepting_, door.listener.get());
    const __u64 picked = setup_.load.picked();
    if (!accept_some(door) && !kernel_is_short_) setup_.load.seen(picked, flows_.inside());
    if (kernel_is_short_) co_await uring::Sleep(ring_, stop_accepting_, kShortagePause);
    kernel_is_short_ = false;
  }
  // The last of the queue: these clients were told that they are connected.
  // No more than there was room for, because new ones go on arriving.
  for (int left = net::kListenBacklog; left > 0 && accept_some(door); left -= kAcceptsPerTurn) {
    co_await uring::Yield(ring_);
  }
  door.listener.reset();
}

/// Keeps the heartbeat young while nothing happens (each round of the loop is one), and sweeps: on kernels
/// before 7.1 a connection that was taken from another worker's closed socket wakes nobody (trap 87), and one
/// that was given to us and never came must not count for ever.
Task<void> Worker::beat() {
  for (__u64 known = unsteered(); !stop_control_.requested();) {
    co_await uring::Sleep(ring_, stop_control_, kBeat);
    if (setup_.load.all_seen() && unsteered() == known) continue;
    known = unsteered();
    co_await sweep();
  }
}

/// Empties the queue of every listening socket, woken or not.
Task<void> Worker::sweep() {
  if (!serving_) co_return;
  const __u64 picked = setup_.load.picked();
  for (Door& door : setup_.doors) {
    while (!stop_accepting_.requested() && accept_some(door)) co_await uring::Yield(ring_);
  }
  if (!kernel_is_short_) setup_.load.seen(picked, flows_.inside());
}

/// Connections that were moved from a closed socket to one of the kernel's choice: perhaps to ours.
__u64 Worker::unsteered() const {
  __u64 sum = 0;
  for (std::size_t i = 0; i < setup_.steering.count(); ++i) {
    sum += base::shared_get(setup_.steering[i].migrated_unsteered);
  }
  return sum;
}

/// False when the queue is empty.
bool Worker::accept_some(Door& door) {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    auto accepted = net::accept(door.listener.get());
    if (accepted) {
      admit(std::move(*accepted), *door.service);
      continue;
    }
    switch (accepted.error()) {
      case EMFILE:
      case ENFILE:
        if (admission_.refuse_next(door.listener.get(), door.service->row, ring_.now())) break;
        kernel_is_short_ = true;
        return false;
      case ENOMEM:
      case ENOBUFS:
        kernel_is_short_ = true;
        admission_.count(Refusal::kMemory, door.service->row, ring_.now());
        return false;
      case EAGAIN:
        return false;
      // Of a connection that is gone already (accept(2), "Error handling").
      case ECONNABORTED:
      case EINTR:
      case ENETDOWN:
      case EPROTO:
      case ENOPROTOOPT:
      case EHOSTDOWN:
      case ENONET:
      case EHOSTUNREACH:
      case EOPNOTSUPP:
      case ENETUNREACH:
      case EPERM:
        break;
      default:  // it may come again and again
        kernel_is_short_ = true;
        return false;
    }
  }
  return true;
}

void Worker::admit(net::Accepted accepted, const session::Service& service) {
  setup_.load.accepted();
  if (!admission_.admit(accepted.socket, service.row, ring_.now())) return;
  uring::spawn(flows_, run_flow(std::move(accepted), service));
}

Task<void> Worker::run_flow(net::Accepted accepted, const session::Service& service) {
  const auto end = co_await session::run(here_, service, std::move(accepted.socket), accepted.peer);
  if (end == observe::End::kOutOfDescriptors) admission_.say(Refusal::kDescriptors, ring_.now());
  if (end == observe::End::kOutOfPorts) admission_.say(Refusal::kPorts, ring_.now());
  if (end == observe::End::kOutOfMemory) admission_.say(Refusal::kMemory, ring_.now());
}

base::Result<base::Fd> signal_fd() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGHUP, SIGTERM, SIGQUIT}) sigaddset(&signals, signal);
  base::Fd fd(::signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!fd) return base::fail(base::Error::system("signalfd", errno));
  return fd;
}

int give_up(base::Log& log, const base::Error& error) {
  log.error("worker_failed", {{"error", error.text()}});
  return 1;
}

}  // namespace

int run(Setup setup) {
  auto ring = uring::Ring::create();
  if (!ring) return give_up(setup.log, ring.error());
  auto signals = signal_fd();
  if (!signals) return give_up(setup.log, signals.error());
  {
    Worker worker(setup, **ring, std::move(*signals));
    if (auto ran = worker.run(); !ran) {
      // The ring is dead, so nothing in flight can ever complete: leave without tidying up.
      give_up(setup.log, ran.error());
      std::_Exit(1);
    }
  }
  TLSPLICE_EXPECT(uring::live_frames() == 0, "a worker ended with coroutine frames alive");
  return 0;
}

}  // namespace tlsplice::worker
