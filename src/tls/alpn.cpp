#include "alpn.hpp"

#include <array>
#include <cstddef>
#include <cstring>
#include <iterator>

namespace tlsplice::tls {
namespace {

using policy::AlpnPolicy;

std::string_view text_of(std::span<const unsigned char> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Takes the first protocol off the list; empty when there is none, or it is no list.
std::string_view take_protocol(std::string_view& list) {
  if (list.empty()) return {};
  const std::size_t size = static_cast<unsigned char>(list.front());
  if (list.size() - 1 < size) return {};
  const std::string_view protocol = list.substr(1, size);
  list.remove_prefix(1 + size);
  return protocol;
}

bool offers(std::string_view list, std::string_view wanted) {
  for (auto protocol = take_protocol(list); !protocol.empty(); protocol = take_protocol(list)) {
    if (protocol == wanted) return true;
  }
  return false;
}

/// SSL_CTX_set_alpn_select_cb(3): called only for a client that sent a list, which OpenSSL has checked.
template <AlpnPolicy Policy>
int choose(SSL* /*ssl*/, const unsigned char** chosen, unsigned char* size, const unsigned char* list,
           unsigned int list_size, void* /*argument*/) {
  for (const char* const protocol : policy::application_protocols(Policy)) {
    if (!offers(text_of({list, list_size}), protocol)) continue;
    *chosen = reinterpret_cast<const unsigned char*>(protocol);
    *size = static_cast<unsigned char>(std::strlen(protocol));
    return SSL_TLSEXT_ERR_OK;
  }
  return SSL_TLSEXT_ERR_NOACK;
}

// In the order of the enumeration.
constexpr SSL_CTX_alpn_select_cb_func kChoosers[] = {
    nullptr, choose<AlpnPolicy::kHttp1Only>, choose<AlpnPolicy::kHttp2Only>,
    choose<AlpnPolicy::kHttp2Optional>, choose<AlpnPolicy::kHttp2Preferred>};

}  // namespace

void set_alpn_policy(SSL_CTX* context, AlpnPolicy policy) {
  SSL_CTX_set_alpn_select_cb(context, kChoosers[static_cast<std::size_t>(policy)], nullptr);
}

bool offer_alpn(SSL* ssl, std::string_view protocol) {
  std::array<unsigned char, 256> list;
  const std::size_t size = protocol.copy(reinterpret_cast<char*>(list.data()) + 1, list.size() - 1);
  list[0] = static_cast<unsigned char>(size);
  return SSL_set_alpn_protos(ssl, list.data(), static_cast<unsigned int>(size + 1)) == 0;
}

std::optional<std::string_view> protocol_list(std::span<const unsigned char> body) {
  constexpr std::size_t kBefore = 2;  // the length of the list
  if (body.size() <= kBefore) return std::nullopt;
  const std::size_t size = static_cast<std::size_t>(body[0]) << 8 | body[1];
  if (size != body.size() - kBefore) return std::nullopt;
  const std::string_view list = text_of(body.subspan(kBefore));
  for (std::string_view left = list; !left.empty();) {
    if (take_protocol(left).empty()) return std::nullopt;
  }
  return list;
}

const char* agreed_alpn(const SSL* ssl) {
  const unsigned char* agreed = nullptr;
  unsigned int size = 0;
  SSL_get0_alpn_selected(ssl, &agreed, &size);
  if (size > 0) {
    for (const char* const protocol : policy::application_protocols(AlpnPolicy::kHttp2Preferred)) {
      if (text_of({agreed, size}) == protocol) return protocol;
    }
  }
  return "-";
}

}  // namespace tlsplice::tls
