// The load balancer's ALPN policies (spec: nlb-facts, section 5): which application protocols a TLS listener
// agrees to, and which it prefers. Its order counts, not the client's.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace tlsplice::policy {

enum class AlpnPolicy : std::uint8_t { kNone, kHttp1Only, kHttp2Only, kHttp2Optional, kHttp2Preferred };

/// Spelled as the API spells it: "None", "HTTP1Only", "HTTP2Only", "HTTP2Optional", "HTTP2Preferred".
const char* to_string(AlpnPolicy policy);

/// The policy of exactly that name.
std::optional<AlpnPolicy> find_alpn_policy(std::string_view name);

/// What is wrong with a name that is none's, for people.
std::string no_alpn_policy(std::string_view name);

/// By their names on the wire (RFC 7301), in order of preference; none of kNone. Constants, zeros behind.
std::span<const char* const> application_protocols(AlpnPolicy policy);

}  // namespace tlsplice::policy
