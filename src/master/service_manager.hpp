// What systemd and the master tell each other, where the service is one of Type=notify: sd_notify(3),
// sd_listen_fds(3). Their protocols are a datagram and a few environment variables that are promised not to
// change, so no library is needed. Without systemd all of this does nothing.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tlsplice/base/clock.hpp"
#include "tlsplice/base/fd.hpp"
#include "tlsplice/net/address.hpp"

namespace tlsplice::master {

class ServiceManager {
 public:
  /// From the environment, which then no longer has it: no child is to believe that it was meant.
  ServiceManager();

  /// It serves, or goes on to serve; `status` is what `systemctl status` shows.
  void ready(const std::string& status);
  void reloading();
  void stopping();
  /// That this process lives, when it is time to say so again.
  void keep_alive(base::Instant now);
  base::Instant next_deadline() const { return next_sign_; }
  /// Puts back into the environment what the constructor took out of it, for a successor of this process.
  void leave() const;
  /// In a child: it speaks for nobody.
  void abandon() { socket_.reset(); }

 private:
  void tell(const std::string& text);

  std::string address_;
  base::Fd socket_;  // empty: nobody listens
  base::Milliseconds between_signs_{0};
  base::Instant next_sign_ = base::Instant::max();
};

/// Listening sockets that this process did not make: those of a socket unit.
class GivenSockets {
 public:
  /// What systemd has opened for this process. Sockets that are not for TCP, or do not listen, are left out.
  static GivenSockets of_socket_unit();

  void add(base::Fd socket);
  bool has(const net::Address& address) const;
  /// One of those that listen there; empty when there is none (any more).
  base::Fd take(const net::Address& address);
  /// Where those listen that nobody took.
  std::vector<net::Address> left() const;

 private:
  struct Given {
    net::Address address;
    base::Fd socket;
  };
  std::vector<Given> sockets_;
};

}  // namespace tlsplice::master
