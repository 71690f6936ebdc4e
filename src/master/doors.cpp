#include "doors.hpp"

#include <fmt/format.h>

#include "tlsplice/net/socket.hpp"

namespace tlsplice::master {

using base::Result;

namespace {

tlsplice_steering_mode mode_of(policy::Steering steering) {
  switch (steering) {
    case policy::Steering::kLeastLoaded:
      return TLSPLICE_STEER_LEAST_LOADED;
    case policy::Steering::kCpu:
      return TLSPLICE_STEER_CPU;
    case policy::Steering::kHash:
      break;
  }
  return TLSPLICE_STEER_HASH;
}

Result<std::vector<base::Fd>> listen_everywhere(const Prepared& prepared) {
  std::vector<base::Fd> sockets;
  for (const Prepared::Listener& listener : prepared.listeners) {
    auto socket = net::listen(listener.address);
    if (!socket) {
      socket.error().detail = fmt::format("listener {}: {}", listener.service.name, socket.error().detail);
      return base::fail(std::move(socket.error()));
    }
    sockets.push_back(std::move(*socket));
  }
  return sockets;
}

Result<void> expect_all_free(const Prepared& prepared) {
  for (const Prepared::Listener& listener : prepared.listeners) {
    if (auto free = net::expect_free(listener.address); !free) {
      free.error().detail = fmt::format("listener {}: {}", listener.service.name, free.error().detail);
      return free;
    }
  }
  return {};
}

}  // namespace

Result<Doors> Doors::open(const Prepared& prepared, std::size_t workers, policy::Steering steering,
                          const Numbers& numbers, base::Log& log) {
  if (auto free = expect_all_free(prepared); !free) return base::fail(std::move(free.error()));
  Doors doors;
  for (std::size_t worker = 0; worker < workers; ++worker) {
    auto sockets = listen_everywhere(prepared);
    if (!sockets) return base::fail(std::move(sockets.error()));
    doors.sockets_.push_back(std::move(*sockets));
  }
  doors.shut_.resize(workers);
  if (auto mapped = doors.map_rows(prepared, numbers); !mapped) return base::fail(std::move(mapped.error()));
  if (auto steered = doors.steer(steering, numbers); steered) {
    log.info("steering", {{"mode", policy::to_string(steering)}});
  } else {
    log.warning("steering", {{"mode", "kernel-hash"}, {"why", steered.error().text()}});
    doors.steering_.reset();
  }
  return doors;
}

Result<void> Doors::map_rows(const Prepared& prepared, const Numbers& numbers) {
  const steering::Maps* maps = numbers.maps();
  auto loads = steering::Loads::create(sockets_.size(), maps != nullptr ? maps->workers() : -1);
  if (!loads) return base::fail(std::move(loads.error()));
  auto outcomes =
      steering::Outcomes::create(prepared.listeners.size(), maps != nullptr ? maps->steering() : -1);
  if (!outcomes) return base::fail(std::move(outcomes.error()));
  loads_ = std::move(*loads);
  outcomes_ = std::move(*outcomes);
  for (std::size_t i = 0; i < prepared.listeners.size(); ++i) {
    base::enter_text(outcomes_[i].listener, prepared.listeners[i].service.name);
  }
  return {};
}

Result<void> Doors::steer(policy::Steering mode, const Numbers& numbers) {
  if (numbers.maps() == nullptr) return base::fail(numbers.why_not());
  const std::size_t listeners = sockets_.front().size();
  auto loaded = steering::Steering::load(
      {.listeners = listeners, .workers = sockets_.size(), .mode = mode_of(mode)}, *numbers.maps());
  if (!loaded) return base::fail(std::move(loaded.error()));
  steering_.emplace(std::move(*loaded));
  for (std::size_t worker = 0; worker < sockets_.size(); ++worker) {
    if (auto offered = offer(worker); !offered) return offered;
  }
  for (std::size_t listener = 0; listener < listeners; ++listener) {
    auto attached = steering_->attach(listener, sockets_.front()[listener].get());
    if (!attached) return attached;
  }
  return {};
}

Result<void> Doors::offer(std::size_t worker) {
  for (std::size_t listener = 0; listener < sockets_[worker].size(); ++listener) {
    auto offered = steering_->offer(listener, worker, sockets_[worker][listener].get());
    if (!offered) return offered;
  }
  return {};
}

std::vector<base::Fd> Doors::take(std::size_t worker) {
  std::vector<base::Fd> own = std::move(sockets_[worker]);
  abandon();
  return own;
}

void Doors::abandon() {
  clear();
  steering_.reset();
}

void Doors::clear() {
  for (auto& sockets : sockets_) sockets.clear();
}

bool Doors::shut(std::size_t worker) {
  if (!steered()) return false;
  load(worker).close(true);  // first: what is moved must not be given to it
  shut_[worker] = true;
  for (const base::Fd& socket : sockets_[worker]) net::stop_listening(socket.get());
  return true;
}

Result<void> Doors::reopen(std::size_t worker) {
  for (const base::Fd& socket : sockets_[worker]) {
    if (auto again = net::listen_again(socket.get()); !again) return again;
  }
  if (auto offered = offer(worker); !offered) return offered;
  shut_[worker] = false;
  load(worker).close(false);
  return {};
}

Result<void> Doors::follow(const steering::CpuPlan& cpus) {
  return steering_ ? steering_->follow(cpus) : Result<void>();
}

}  // namespace tlsplice::master
