// A block of addresses, "10.0.0.0/8" or "2001:db8::/32": a value. An address of the other family is never in
// it, which is right here because an IPv6 socket takes IPv6 only.
#pragma once

#include "tlsplice/net/address.hpp"

namespace tlsplice::net {

class Network {
 public:
  /// `prefix` is at most what the address has bits; those behind it do not count.
  Network(const Address& base, unsigned prefix) : base_(base), prefix_(prefix) {}
  bool contains(const Address& address) const;

 private:
  Address base_;
  unsigned prefix_;
};

}  // namespace tlsplice::net
