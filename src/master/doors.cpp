#include "doors.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

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

base::Fd copy_of(const base::Fd& socket) {
  return base::Fd(::fcntl(socket.get(), F_DUPFD_CLOEXEC, 0));
}

}  // namespace

std::optional<std::size_t> Doors::listener_at(const net::Address& address) const {
  const auto found = std::ranges::find(addresses_, address);
  if (found == addresses_.end()) return std::nullopt;
  return static_cast<std::size_t>(found - addresses_.begin());
}

Result<Doors> Doors::open(const Prepared& prepared, std::size_t workers, policy::Steering steering,
                          const Numbers& numbers, const Doors* before, GivenSockets& given) {
  Doors doors;
  for (const Prepared::Listener& listener : prepared.listeners) {
    doors.addresses_.push_back(listener.address);
    const auto known = before != nullptr ? before->listener_at(listener.address) : std::nullopt;
    doors.alone_.push_back(known && before->alone_[*known]);
    if (known || given.has(listener.address)) continue;
    if (auto free = net::expect_free(listener.address); !free) {
      free.error().detail = fmt::format("listener {}: {}", listener.service.name, free.error().detail);
      return base::fail(std::move(free.error()));
    }
  }
  for (std::size_t worker = 0; worker < workers; ++worker) {
    auto sockets = doors.listen_everywhere(prepared, before, given);
    if (!sockets) return base::fail(std::move(sockets.error()));
    doors.sockets_.push_back(std::move(*sockets));
    doors.shut_.push_back(before != nullptr && worker < before->shut_.size() && before->shut_[worker]);
  }
  if (auto mapped = doors.map_rows(prepared, numbers); !mapped) return base::fail(std::move(mapped.error()));
  if (auto loaded = doors.load_steering(steering, numbers); !loaded) {
    doors.why_unsteered_ = std::move(loaded.error());
    doors.steering_.reset();
  }
  return doors;
}

/// The sockets of the next worker.
Result<std::vector<base::Fd>> Doors::listen_everywhere(const Prepared& prepared, const Doors* before,
                                                       GivenSockets& given) {
  std::vector<base::Fd> sockets;
  for (const Prepared::Listener& listener : prepared.listeners) {
    auto socket = listen_at(listener.address, sockets.size(), before, given);
    if (socket && !*socket) socket = base::fail(base::Error::system("copy a listening socket", errno));
    if (!socket) {
      socket.error().detail = fmt::format("listener {}: {}", listener.service.name, socket.error().detail);
      return base::fail(std::move(socket.error()));
    }
    sockets.push_back(std::move(*socket));
  }
  return sockets;
}

Result<base::Fd> Doors::listen_at(const net::Address& address, std::size_t listener, const Doors* before,
                                  GivenSockets& given) {
  const std::size_t worker = sockets_.size();
  const auto known = before != nullptr ? before->listener_at(address) : std::nullopt;
  if (known && worker < before->sockets_.size()) return copy_of(before->sockets_[worker][*known]);
  if (base::Fd socket = given.take(address)) {
    alone_[listener] = !net::adopt_listener(socket.get());
    return socket;
  }
  if (alone_[listener] && worker > 0) return copy_of(sockets_.front()[listener]);
  return net::listen(address);
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

Result<void> Doors::load_steering(policy::Steering mode, const Numbers& numbers) {
  if (numbers.maps() == nullptr) return base::fail(numbers.why_not());
  if (std::ranges::find(alone_, true) != alone_.end())
    return base::fail(
        base::Error::invalid("a socket that was given to this service shares its address with no other one: "
                             "set ReusePort=yes in the "
                             "socket unit"));
  auto loaded = steering::Steering::load(
      {.listeners = addresses_.size(), .workers = sockets_.size(), .mode = mode_of(mode)}, *numbers.maps());
  if (!loaded) return base::fail(std::move(loaded.error()));
  steering_.emplace(std::move(*loaded));
  return {};
}

void Doors::enter(policy::Steering steering, Doors* before, base::Log& log) {
  for (std::size_t worker = 0; worker < sockets_.size(); ++worker) {
    if (!shut_[worker]) continue;
    if (auto again = listen_again(worker); !again)
      log.error("listen_failed", {{"worker", worker}, {"error", again.error().text()}});
  }
  if (steering_) {
    if (auto steered = this->steer(before); !steered) {
      why_unsteered_ = std::move(steered.error());
      steering_.reset();
    }
  }
  if (steering_) {
    log.info("steering", {{"mode", policy::to_string(steering)}});
  } else {
    log.warning("steering", {{"mode", "kernel-hash"}, {"why", why_unsteered_.text()}});
  }
  if (before == nullptr) return;
  for (std::size_t worker = sockets_.size(); steering_ && worker < before->sockets_.size(); ++worker) {
    for (const base::Fd& socket : before->sockets_[worker]) net::stop_listening(socket.get());
  }
  before->steering_.reset();
  before->adopted_steering_.clear();
}

/// A socket leaves the map of the program before as it enters ours: between the two, and until ours is
/// attached, connections are spread by the kernel's hash.
Result<void> Doors::steer(Doors* before) {
  for (std::size_t listener = 0; before != nullptr && listener < addresses_.size(); ++listener) {
    if (const auto known = before->listener_at(addresses_[listener])) before->withdraw(*known);
  }
  for (std::size_t worker = 0; worker < sockets_.size(); ++worker) {
    if (auto offered = offer(worker); !offered) return offered;
  }
  for (std::size_t listener = 0; listener < addresses_.size(); ++listener) {
    auto attached = steering_->attach(listener, sockets_.front()[listener].get());
    if (!attached) return attached;
  }
  return {};
}

/// From the program in front of it.
void Doors::withdraw(std::size_t listener) {
  const int map = steering_sockets(listener);
  for (std::size_t worker = 0; map >= 0 && worker < sockets_.size(); ++worker)
    steering::withdraw(map, worker);
}

Result<void> Doors::offer(std::size_t worker) {
  if (!steering_) return {};
  for (std::size_t listener = 0; listener < sockets_[worker].size(); ++listener) {
    auto offered = steering_->offer(listener, worker, sockets_[worker][listener].get());
    if (!offered) return offered;
  }
  return {};
}

/// The map of sockets of the program in front of that listener, ours or a predecessor's; -1: there is none.
int Doors::steering_sockets(std::size_t listener) const {
  if (steering_) return steering_->sockets(listener);
  return adopted_steering_.empty() ? -1 : adopted_steering_[listener].get();
}

void Doors::bequeath(Bequest& bequest) const {
  bequest.shut = shut_;
  for (std::size_t i = 0; i < addresses_.size(); ++i) {
    const net::Address& address = addresses_[i];
    auto& listener =
        bequest.listeners.emplace_back(Bequest::Listener{.address = {address.host(), address.port()},
                                                         .alone = alone_[i],
                                                         .steering_sockets = steering_sockets(i),
                                                         .sockets = {}});
    for (const auto& sockets : sockets_) listener.sockets.push_back(sockets[i].get());
  }
}

Result<Doors> Doors::adopt(std::size_t workers, int loads_fd) {
  auto loads = steering::Loads::create(workers, loads_fd);
  if (!loads) return base::fail(std::move(loads.error()));
  Doors doors;
  doors.loads_ = std::move(*loads);
  doors.sockets_.resize(workers);
  doors.shut_.resize(workers);
  return doors;
}

Result<Doors> Doors::adopt(const Bequest& bequest, std::size_t workers, int loads_fd) {
  auto doors = adopt(workers, loads_fd);
  if (!doors) return doors;
  bool fits = bequest.shut.size() == workers;
  for (const Bequest::Listener& listener : bequest.listeners) {
    // Owned from here on, whatever comes.
    for (std::size_t i = 0; i < listener.sockets.size(); ++i) {
      base::Fd socket(listener.sockets[i]);
      if (i < workers) doors->sockets_[i].push_back(std::move(socket));
    }
    auto address = net::Address::parse(listener.address.host, listener.address.port);
    fits = fits && address && listener.sockets.size() == workers;
    doors->addresses_.push_back(address.value_or(net::Address()));
    doors->alone_.push_back(listener.alone);
    if (listener.steering_sockets >= 0) doors->adopted_steering_.emplace_back(listener.steering_sockets);
  }
  if (!fits) return base::fail(base::Error::invalid("listeners were left with other sockets than workers"));
  doors->shut_ = bequest.shut;
  if (doors->adopted_steering_.size() != bequest.listeners.size()) doors->adopted_steering_.clear();
  return doors;
}

std::vector<base::Fd> Doors::take(std::size_t worker) {
  std::vector<base::Fd> own = std::move(sockets_[worker]);
  abandon();
  return own;
}

void Doors::abandon() {
  clear();
  adopted_steering_.clear();
  steering_.reset();
  loads_.forget_descriptor();
  outcomes_.forget_descriptor();
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
  if (auto again = listen_again(worker); !again) return again;
  if (auto offered = offer(worker); !offered) return offered;
  load(worker).close(false);
  return {};
}

Result<void> Doors::listen_again(std::size_t worker) {
  for (const base::Fd& socket : sockets_[worker]) {
    if (auto again = net::listen_again(socket.get()); !again) return again;
  }
  shut_[worker] = false;
  return {};
}

Result<void> Doors::follow(const steering::CpuPlan& cpus) {
  return steering_ ? steering_->follow(cpus) : Result<void>();
}

}  // namespace tlsplice::master
