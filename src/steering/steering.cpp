#include "tlsplice/steering/steering.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <steering.skel.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "remedy.hpp"

namespace tlsplice::steering {

using base::Result;

struct Steering::Loaded {
  explicit Loaded(steering_bpf* opened) : skeleton(opened) {}
  Loaded(const Loaded&) = delete;
  Loaded& operator=(const Loaded&) = delete;
  ~Loaded() { steering_bpf::destroy(skeleton); }

  steering_bpf* skeleton;
};

Steering::Steering(const Plan& plan) : plan_(plan) {}
Steering::Steering(Steering&& other) noexcept = default;
Steering::~Steering() = default;

Result<Steering> Steering::load(const Plan& plan, const Maps& maps) {
  Steering steering(plan);
  const CpuPlan cpus = plan_cpus(plan.workers);
  for (std::size_t listener = 0; listener < plan.listeners; ++listener) {
    if (auto done = steering.load_one(listener, cpus, maps); !done)
      return base::fail(std::move(done.error()));
  }
  if (auto filled = steering.follow(cpus); !filled) return base::fail(std::move(filled.error()));
  return steering;
}

Result<void> Steering::load_one(std::size_t listener, const CpuPlan& cpus, const Maps& maps) {
  auto loaded = std::make_unique<Loaded>(steering_bpf::open());
  steering_bpf* skeleton = loaded->skeleton;
  if (skeleton == nullptr) return base::fail(cannot("open the steering program", errno));
  skeleton->rodata->listener = static_cast<__u32>(listener);
  skeleton->rodata->worker_count = static_cast<__u32>(plan_.workers);
  skeleton->rodata->mode = plan_.mode;
  bpf_map__set_max_entries(skeleton->maps.sockets, static_cast<__u32>(plan_.workers));
  bpf_map__set_max_entries(skeleton->maps.cpus, static_cast<__u32>(cpus.worker_of_cpu.size()));
  for (const auto& [mine, shared] : {std::pair(skeleton->maps.workers, maps.workers()),
                                     std::pair(skeleton->maps.steering, maps.steering())}) {
    if (const int error = bpf_map__reuse_fd(mine, shared); error != 0)
      return base::fail(cannot("share the steering maps", -error));
  }
  if (const int error = steering_bpf::load(skeleton); error != 0)
    return base::fail(cannot("load the steering program", -error));
  loaded_.push_back(std::move(loaded));
  return {};
}

Result<void> Steering::follow(const CpuPlan& cpus) {
  for (const auto& loaded : loaded_) {
    const int map = bpf_map__fd(loaded->skeleton->maps.cpus);
    for (std::uint32_t cpu = 0; cpu < cpus.worker_of_cpu.size(); ++cpu) {
      if (bpf_map_update_elem(map, &cpu, &cpus.worker_of_cpu[cpu], BPF_ANY) != 0)
        return base::fail(cannot("fill the map of CPUs", errno));
    }
  }
  return {};
}

Result<void> Steering::attach(std::size_t listener, int socket) {
  const int program = bpf_program__fd(loaded_.at(listener)->skeleton->progs.tlsplice_steer);
  if (::setsockopt(socket, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &program, sizeof program) != 0)
    return base::fail(cannot("attach the steering program", errno));
  return {};
}

Result<void> Steering::offer(std::size_t listener, std::size_t worker, int socket) {
  const int map = sockets(listener);
  const auto key = static_cast<__u32>(worker);
  const auto value = static_cast<__u64>(socket);
  if (bpf_map_update_elem(map, &key, &value, BPF_ANY) != 0)
    return base::fail(cannot("enter a listening socket", errno));
  return {};
}

int Steering::sockets(std::size_t listener) const {
  return bpf_map__fd(loaded_.at(listener)->skeleton->maps.sockets);
}

void withdraw(int sockets, std::size_t worker) {
  const auto key = static_cast<__u32>(worker);
  (void)bpf_map_delete_elem(sockets, &key);  // ENOENT: it is not there
}

}  // namespace tlsplice::steering
