// Where people ask a running service: the admin socket, and what the master answers to each command. It waits
// for nobody: not for whoever asks, nor for a worker.
#pragma once

#include <poll.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "generations.hpp"
#include "tlsplice/admin/server.hpp"
#include "tlsplice/base/log.hpp"
#include "tlsplice/control/control.hpp"
#include "tlsplice/policy/config.hpp"
#include "upgrade.hpp"

namespace tlsplice::master {

class Desk {
 public:
  /// `generations` must outlive it.
  explicit Desk(Generations& generations) : generations_(generations) {}

  /// Makes the socket where that configuration wants it, unless it is there; adopt() makes it ours, in place
  /// of the one before. One that was configured must be; without the default one the service goes on, and
  /// says so.
  base::Result<void> prepare(const policy::AdminSettings& settings, base::Log& log);
  void adopt();
  /// Not that one.
  void forget_next() { next_.reset(); }
  /// What the command "upgrade" does. It is answered only if it fails: else whoever asked hears the end of
  /// this program.
  void on_upgrade(std::function<void(Upgrade::Failed)> upgrade) { upgrade_ = std::move(upgrade); }
  /// From now on what is in force can be asked for and changed.
  void control(control::Loaded loaded, control::Service service, base::Log log);
  /// Null before that.
  control::Control* control() { return control_ ? &*control_ : nullptr; }
  void watch(std::vector<pollfd>& watched) const;
  void serve();
  base::Instant next_deadline() const;
  /// In a child: all of it is its parent's.
  void abandon();

 private:
  std::optional<admin::Reply> answer(const admin::Request& request);
  admin::Reply flows() const;
  admin::Reply numbers();

  Generations& generations_;
  std::optional<control::Control> control_;
  std::function<void(Upgrade::Failed)> upgrade_;
  std::string path_;  // of server_; empty: none
  std::optional<admin::Server> server_;
  std::string next_path_;
  std::optional<admin::Server> next_;
};

}  // namespace tlsplice::master
