// A group of listening sockets with the steering program in front, in one process: the test plays the workers
// (their rows are its to write) and the clients.
#pragma once

#include <sys/socket.h>

#include <map>
#include <vector>

#include "tlsplice/base/fd.hpp"
#include "tlsplice/net/socket.hpp"
#include "tlsplice/steering/steering.hpp"

namespace tlsplice::tests {

inline base::Result<steering::Steering> load_steering(const steering::Steering::Plan& plan) {
  auto maps = steering::Maps::create({.workers = plan.workers, .listeners = plan.listeners, .targets = 1});
  if (!maps) return base::fail(std::move(maps.error()));
  return steering::Steering::load(plan, *maps);
}

/// Whether the machine lets this process load the program.
inline bool can_steer() {
  return load_steering({.listeners = 1, .workers = 1}).has_value();
}

class SteeredGroup {
 public:
  explicit SteeredGroup(std::size_t workers, tlsplice_steering_mode mode = TLSPLICE_STEER_LEAST_LOADED,
                        const char* host = "127.0.0.1")
      : maps_(std::move(*steering::Maps::create({.workers = workers}))),
        steering_(
            std::move(*steering::Steering::load({.listeners = 1, .workers = workers, .mode = mode}, maps_))),
        loads_(std::move(*steering::Loads::create(workers, maps_.workers()))),
        outcomes_(std::move(*steering::Outcomes::create(1, maps_.steering()))) {
    address_ = *net::Address::parse(host, 0);
    for (std::size_t i = 0; i < workers; ++i) {
      sockets_.push_back(std::move(*net::listen(address_)));
      address_ = net::local_address(sockets_.front().get());
      TLSPLICE_EXPECT(steering_.offer(0, i, sockets_[i].get()), "a listening socket can be offered");
      load(i).begin(base::now());
    }
    TLSPLICE_EXPECT(steering_.attach(0, sockets_.front().get()), "the program can be attached");
  }

  steering::WorkerLoad load(std::size_t worker) { return steering::WorkerLoad(loads_[worker]); }
  tlsplice_worker_load& row(std::size_t worker) { return loads_[worker]; }
  const tlsplice_steering& outcomes() { return outcomes_[0]; }
  base::Fd& socket(std::size_t worker) { return sockets_[worker]; }
  steering::Steering& steering() { return steering_; }

  /// Clients that are connected when this returns, and wait in the queues.
  void dial(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      base::Fd client(::socket(address_.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
      TLSPLICE_EXPECT(::connect(client.get(), address_.data(), address_.size()) == 0, "clients can connect");
      clients_.push_back(std::move(client));
    }
  }
  /// How many connections wait for that worker. Takes them.
  std::size_t accept_all(std::size_t worker) {
    std::size_t count = 0;
    while (auto accepted = net::accept(sockets_[worker].get())) {
      accepted_.push_back(std::move(accepted->socket));
      ++count;
    }
    return count;
  }
  std::vector<std::size_t> accept_everywhere() {
    std::vector<std::size_t> counts;
    for (std::size_t i = 0; i < sockets_.size(); ++i) counts.push_back(accept_all(i));
    return counts;
  }

 private:
  steering::Maps maps_;
  steering::Steering steering_;
  steering::Loads loads_;
  steering::Outcomes outcomes_;
  net::Address address_;
  std::vector<base::Fd> sockets_;
  std::vector<base::Fd> clients_;
  std::vector<base::Fd> accepted_;
};

}  // namespace tlsplice::tests
