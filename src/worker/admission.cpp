#include "admission.hpp"

#include <fcntl.h>

#include "tlsplice/base/memory.hpp"
#include "tlsplice/net/socket.hpp"

namespace tlsplice::worker {
namespace {

struct Kind {
  observe::Counter counter;
  const char* name;
  const char* remedy;
};

// In the order of Refusal.
constexpr Kind kKinds[] = {
    {&tlsplice_counters::RejectedFlowCount_MaxFlows, "max_flows",
     "raise max_flows if the machine can carry more"},
    {&tlsplice_counters::RejectedFlowCount_Descriptors, "descriptors",
     "raise the limit on open files (ulimit -n)"},
    {&tlsplice_counters::RejectedFlowCount_Memory, "memory",
     "give the service more memory, or lower max_flows"},
    {&tlsplice_counters::PortAllocationErrorCount, "ports",
     "widen net.ipv4.ip_local_port_range, or add targets"},
};

base::Fd open_spare() {
  return base::Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

void reset(base::Fd& connection) {
  net::reset_on_close(connection.get());
  connection.reset();
}

}  // namespace

Admission::Admission(const observe::CounterTable& all, observe::Counters own, base::Log& log,
                     std::uint32_t max_flows)
    : all_(all), own_(own), log_(log), max_flows_(max_flows), spare_(open_spare()) {}

bool Admission::admit(base::Fd& connection, std::size_t listener_row, base::Instant now) {
  if (all_.sum(&tlsplice_counters::ActiveFlowCount) >= max_flows_) {
    count(Refusal::kMaxFlows, listener_row, now);
    reset(connection);
    return false;
  }
  if (base::memory_is_short() && !base::refill_memory_reserve()) {
    count(Refusal::kMemory, listener_row, now);
    reset(connection);
    return false;
  }
  return true;
}

bool Admission::refuse_next(int listener, std::size_t listener_row, base::Instant now) {
  spare_.reset();
  auto accepted = net::accept(listener);
  if (accepted) {
    count(Refusal::kDescriptors, listener_row, now);
    reset(accepted->socket);
  }
  spare_ = open_spare();
  return accepted.has_value();
}

void Admission::count(Refusal reason, std::size_t listener_row, base::Instant now) {
  own_.add(kKinds[static_cast<std::size_t>(reason)].counter);
  own_.add(listener_row, &tlsplice_listener::RejectedFlowCount);
  say(reason, now);
}

void Admission::say(Refusal reason, base::Instant now) {
  const auto index = static_cast<std::size_t>(reason);
  if (!said_[index].allow(now)) return;
  log_.warning("refusing", {{"reason", kKinds[index].name},
                            {"not_said", said_[index].held_back()},
                            {"remedy", kKinds[index].remedy}});
}

}  // namespace tlsplice::worker
