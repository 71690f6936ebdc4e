// Which worker serves which CPU.
#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "tlsplice/steering/steering.hpp"

namespace tlsplice::steering {

CpuPlan plan_cpus(std::size_t workers) {
  CpuPlan plan;
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  // Leaves out those that are offline (kernel/sched/syscalls.c).
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) CPU_SET(0, &allowed);
  std::vector<unsigned> cpus;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) cpus.push_back(cpu);
  }
  for (std::size_t worker = 0; worker < workers; ++worker) {
    plan.cpu_of_worker.push_back(cpus[worker % cpus.size()]);
  }
  const auto configured = static_cast<std::size_t>(std::max(::sysconf(_SC_NPROCESSORS_CONF), 1L));
  plan.worker_of_cpu.assign(std::max<std::size_t>(configured, cpus.back() + 1), TLSPLICE_STEER_NO_WORKER);
  for (std::size_t i = 0; i < cpus.size(); ++i) {
    plan.worker_of_cpu[cpus[i]] = static_cast<std::uint32_t>(i % workers);
  }
  return plan;
}

base::Result<void> stay_on(unsigned cpu, pid_t process) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  if (::sched_setaffinity(process, sizeof one, &one) == 0) return {};
  return base::fail(base::Error::system(fmt::format("stay on CPU {}", cpu), errno));
}

}  // namespace tlsplice::steering
