// Address is an IPv4 or IPv6 address with a port: a value, comparable, printable, ready for the socket calls.
// Names are never resolved: a load balancer that waits for DNS on the path of a connection has no deadline.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "tlsplice/base/result.hpp"

namespace tlsplice::net {

class Address {
 public:
  Address() = default;
  /// From a literal such as "192.0.2.1" or "2001:db8::1"; names are not resolved.
  static base::Result<Address> parse(std::string_view host, std::uint16_t port);
  static Address from(const sockaddr* address, socklen_t size);

  const sockaddr* data() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t size() const;
  int family() const { return storage_.any.sa_family; }
  std::uint16_t port() const;
  Address with_port(std::uint16_t port) const;
  /// 4 or 16 bytes in network order; empty for a default-constructed Address.
  std::string_view ip_bytes() const;
  /// "192.0.2.1", "2001:db8::1": what parse() takes; empty when the Address is
  std::string host() const;
  /// "192.0.2.1:443", "[2001:db8::1]:443", "-" when empty
  std::string text() const;

  bool operator==(const Address& other) const {
    return family() == other.family() && port() == other.port() && ip_bytes() == other.ip_bytes();
  }

 private:
  union Storage {
    sockaddr any;
    sockaddr_in v4;
    sockaddr_in6 v6;
  };
  Storage storage_{.v6 = {}};
};

}  // namespace tlsplice::net
