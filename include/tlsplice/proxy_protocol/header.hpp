// The header of the PROXY protocol, version 2, that tells a target who its client is: pure, bytes from
// values. Laid out as the load balancer's (spec: nlb-facts, section 11): addresses, then a CRC32C, then what
// else is known, then a NOOP that fills it up to a hundred bytes. The format is HAProxy's
// (doc/proxy-protocol.txt, section 2.2).
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "tlsplice/net/address.hpp"

namespace tlsplice::proxy_protocol {

/// No header is shorter, whatever it carries.
inline constexpr std::size_t kHeaderBytesMin = 100;
/// Of a name or a protocol's identifier; what is longer is left out.
inline constexpr std::size_t kValueBytesMax = 255;

/// The client's TLS connection, which ended at the load balancer; no client certificate was verified.
struct Tls {
  std::string_view version;  // "TLSv1.3"
  std::string_view cipher;   // "TLS_AES_128_GCM_SHA256"
};

/// What a header says beyond the addresses; what is empty is left out.
struct Extras {
  std::string_view alpn = {};       // the protocol that was agreed on, "h2" (PP2_TYPE_ALPN)
  std::string_view authority = {};  // the server name that the client asked for (PP2_TYPE_AUTHORITY)
  std::optional<Tls> tls = {};      // PP2_TYPE_SSL with its version and cipher
};

/// PROXY: a connection from `client` to `listener`. If only one of them is IPv6, the other one is written as
/// IPv6 too (RFC 4291 section 2.5.5.2); without both the header says that they are not known.
std::vector<std::byte> proxy_header(const net::Address& client, const net::Address& listener,
                                    const Extras& extras = {});

/// LOCAL: a connection of our own, such as a health check's. It names IPv4 and carries no address, as the
/// load balancer's does.
std::vector<std::byte> local_header();

}  // namespace tlsplice::proxy_protocol
