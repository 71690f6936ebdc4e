// Where people ask a running service: the admin socket, and what the master answers to each command. It waits
// for nobody: not for whoever asks, nor for a worker.
#pragma once

#include <poll.h>

#include <optional>
#include <vector>

#include "tlsplice/admin/server.hpp"
#include "tlsplice/base/log.hpp"
#include "tlsplice/policy/config.hpp"
#include "workers.hpp"

namespace tlsplice::master {

class Desk {
 public:
  /// `workers` must outlive it.
  explicit Desk(const Workers& workers) : workers_(workers) {}

  /// Makes the socket. One that was configured must be; without the default one the service goes on, and says
  /// so.
  base::Result<void> open(const policy::AdminSettings& settings, base::Log& log);
  void watch(std::vector<pollfd>& watched) const;
  void serve();
  base::Instant next_deadline() const;
  /// In a child: all of it is its parent's.
  void abandon();

 private:
  admin::Reply answer(const admin::Request& request) const;
  admin::Reply flows() const;
  admin::Reply numbers() const;

  const Workers& workers_;
  std::optional<admin::Server> server_;
};

}  // namespace tlsplice::master
