// The load balancer's predefined security policies as data: protocols, cipher suites in server order, groups.
// The table is src/policy/ssl_policies.toml, carried inside the program; nothing here knows OpenSSL.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tlsplice::policy {

/// TLS protocol versions by their value on the wire (RFC 8446 section 4.2.1), so that they compare.
enum class TlsVersion : std::uint16_t { kTls10 = 0x0301, kTls11 = 0x0302, kTls12 = 0x0303, kTls13 = 0x0304 };

/// Spelled as the API spells it: "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3".
const char* to_string(TlsVersion version);

struct SslPolicy {
  std::string name;
  std::vector<TlsVersion> protocols;  // low to high, without gaps
  std::vector<std::string>
      ciphers;  // OpenSSL names in server preference; index 0 is Priority 1; TLS 1.3 suites first
  std::vector<std::string>
      groups;  // OpenSSL names in preference, post-quantum hybrids first where the policy has them
};

/// All of them, in the order of the data file: the seven of the document first. Parsed once, at the first
/// call.
std::span<const SslPolicy> ssl_policies();

/// The policy of exactly that name, or null.
const SslPolicy* find_ssl_policy(std::string_view name);

/// The known name nearest to a mistyped one, for error messages; empty when none is near.
std::string_view nearest_ssl_policy(std::string_view name);

}  // namespace tlsplice::policy
