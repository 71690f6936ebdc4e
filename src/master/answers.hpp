// Where targets see their clients' addresses, what they answer has to come to this host's own sockets: the
// policy rules for that follow the configurations that have flows, or may have.
#pragma once

#include <vector>

#include "generations.hpp"
#include "tlsplice/base/log.hpp"
#include "tlsplice/net/address.hpp"
#include "tlsplice/netlink/local_delivery.hpp"
#include "tlsplice/policy/config.hpp"

namespace tlsplice::master {

class Answers {
 public:
  /// Both outlive it.
  Answers(const Generations& generations, base::Log& log) : generations_(generations), log_(log) {}

  /// Before the first flow of that configuration. Also where no group of it preserves client addresses: an
  /// earlier service that was killed may have left rules.
  base::Result<void> bring_home(const policy::Config& next);
  /// Those of configurations that nobody serves any more go elsewhere.
  void forget();
  /// All do.
  void end();
  /// In a child: the rules are its parent's.
  void abandon() { delivery_.abandon(); }

 private:
  std::vector<net::Address> targets_now() const;
  void follow(const std::vector<net::Address>& targets);

  const Generations& generations_;
  base::Log& log_;
  netlink::LocalDelivery delivery_;
};

}  // namespace tlsplice::master
