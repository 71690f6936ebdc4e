// Application-layer protocol negotiation (RFC 7301): what a listener's policy chooses of a client's offer,
// and what was agreed on. Which protocols there are is the policy room's to say.
#pragma once

#include <openssl/ssl.h>

#include <optional>
#include <span>
#include <string_view>

#include "tlsplice/policy/alpn_policies.hpp"

namespace tlsplice::tls {

/// Connections of this context agree on the first protocol of the policy that the client offers too; without
/// one the handshake goes on as if neither had asked (spec: nlb-facts 5). kNone: nothing is negotiated.
void set_alpn_policy(SSL_CTX* context, policy::AlpnPolicy policy);

/// Offers one protocol, as client. False when there is no memory for it.
bool offer_alpn(SSL* ssl, std::string_view protocol);

/// The list in the body of a client's extension, each protocol with its length in front, under the same
/// conditions as OpenSSL's; nothing when it breaks them.
std::optional<std::string_view> protocol_list(std::span<const unsigned char> body);

/// What both agreed on: a constant of the policy room; "-" for nothing, or nothing that is known there.
const char* agreed_alpn(const SSL* ssl);

}  // namespace tlsplice::tls
