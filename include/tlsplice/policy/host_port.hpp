// Reading "192.0.2.1:443", "[2001:db8::1]:443" and networks such as "10.0.0.0/8", and targets, which may also
// be named: "app.internal:443". Nothing here asks for the address of a name.
#pragma once

#include <expected>
#include <string>
#include <string_view>

#include "tlsplice/policy/config.hpp"

namespace tlsplice::policy {

/// The address in its canonical spelling, so that equal addresses compare equal, or a sentence saying what is
/// wrong.
std::expected<HostPort, std::string> parse_host_port(std::string_view text);

/// "10.0.0.0/8", "2001:db8::/32"; an address alone is the network that has no other.
std::expected<Network, std::string> parse_network(std::string_view text);

/// A target: an address as above, but none that stands for all, or a host name in small letters. A text that
/// ends in a number is an address or wrong, never a name.
std::expected<HostPort, std::string> parse_target(std::string_view text);

/// Of what parse_target() returns: whether its host is a name.
bool is_host_name(const HostPort& address);

/// True for 0.0.0.0 and ::, which stand for every address of the host.
bool is_wildcard(const HostPort& address);

}  // namespace tlsplice::policy
