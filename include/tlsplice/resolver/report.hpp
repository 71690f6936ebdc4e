// What the resolver process tells the master: a host name with the addresses that it has now, one packet
// each. The master trusts none of it: what parse_report() takes is well-formed and an address that a target
// may have; whether somebody wants that name is for the master to look up.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tlsplice/net/address.hpp"

namespace tlsplice::resolver {

inline constexpr std::size_t kAddressesOfANameMax = 64;
inline constexpr std::size_t kReportMax = 4096;  // a name of 254 bytes and as many addresses of 39 fit

struct Report {
  std::string name;
  std::vector<std::string> addresses;  // sorted, each once, as Address::host() has them; none: none is known
  bool operator==(const Report&) const = default;
};

/// "app.internal 192.0.2.1 2001:db8::1"
std::string to_text(const Report& report);

/// Nothing when it is none, or breaks one of the rules above.
std::optional<Report> parse_report(std::string_view text);

/// Why no target can have this address, for people; empty: one can. A name server must not be able to lead
/// flows to whatever listens on this host without an address, or to many hosts at once. Loopback is allowed:
/// "localhost" is a name that people use.
std::string_view why_unusable(const net::Address& address);

}  // namespace tlsplice::resolver
