#include "tlsplice/net/address.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <cstring>

namespace tlsplice::net {

base::Result<Address> Address::parse(std::string_view host, std::uint16_t port) {
  const std::string text(host);
  Address address;
  const bool whole = host.find('\0') == std::string_view::npos;  // the C library would stop there
  if (whole && ::inet_pton(AF_INET, text.c_str(), &address.storage_.v4.sin_addr) == 1) {
    address.storage_.v4.sin_family = AF_INET;
    address.storage_.v4.sin_port = htons(port);
    return address;
  }
  address = {};
  if (whole && ::inet_pton(AF_INET6, text.c_str(), &address.storage_.v6.sin6_addr) == 1) {
    address.storage_.v6.sin6_family = AF_INET6;
    address.storage_.v6.sin6_port = htons(port);
    return address;
  }
  return base::fail(base::Error::invalid(fmt::format("\"{}\" is not an IP address", text)));
}

Address Address::from(const sockaddr* address, socklen_t size) {
  Address copy;
  if (size <= sizeof copy.storage_) std::memcpy(&copy.storage_, address, size);
  return copy;
}

socklen_t Address::size() const {
  switch (family()) {
    case AF_INET:
      return sizeof storage_.v4;
    case AF_INET6:
      return sizeof storage_.v6;
    default:
      return 0;
  }
}

std::uint16_t Address::port() const {
  switch (family()) {
    case AF_INET:
      return ntohs(storage_.v4.sin_port);
    case AF_INET6:
      return ntohs(storage_.v6.sin6_port);
    default:
      return 0;
  }
}

Address Address::with_port(std::uint16_t port) const {
  Address copy = *this;
  if (family() == AF_INET) copy.storage_.v4.sin_port = htons(port);
  if (family() == AF_INET6) copy.storage_.v6.sin6_port = htons(port);
  return copy;
}

std::string_view Address::ip_bytes() const {
  switch (family()) {
    case AF_INET:
      return {reinterpret_cast<const char*>(&storage_.v4.sin_addr), sizeof storage_.v4.sin_addr};
    case AF_INET6:
      return {reinterpret_cast<const char*>(&storage_.v6.sin6_addr), sizeof storage_.v6.sin6_addr};
    default:
      return {};
  }
}

std::string Address::host() const {
  if (ip_bytes().empty()) return {};
  char ip[INET6_ADDRSTRLEN] = "";
  ::inet_ntop(family(), ip_bytes().data(), ip, sizeof ip);
  return ip;
}

std::string Address::text() const {
  switch (family()) {
    case AF_INET:
      return fmt::format("{}:{}", host(), port());
    case AF_INET6:
      return fmt::format("[{}]:{}", host(), port());
    default:
      return "-";
  }
}

}  // namespace tlsplice::net
