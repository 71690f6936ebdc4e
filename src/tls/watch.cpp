#include "watch.hpp"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

#include "alpn.hpp"
#include "bio.hpp"
#include "key_schedule.hpp"

namespace tlsplice::tls {
namespace {

constexpr std::size_t kServerNameMax = 255;  // a DNS name; OpenSSL takes no longer one
constexpr std::size_t kAlpnOfferMax = 256;   // more than that nobody shows of it

std::size_t number_at(std::span<const unsigned char> bytes, std::size_t place) {
  return static_cast<std::size_t>(bytes[place]) << 8 | bytes[place + 1];
}

/// The one host name of the extension's body (RFC 6066 section 3), under the same conditions as OpenSSL;
/// nothing when it breaks them.
std::optional<std::string_view> host_name(std::span<const unsigned char> body) {
  constexpr std::size_t kBefore = 5;  // length of the list, type, length of the name
  if (body.size() < kBefore || number_at(body, 0) != body.size() - 2 || body[2] != TLSEXT_NAMETYPE_host_name)
    return std::nullopt;
  if (number_at(body, 3) != body.size() - kBefore) return std::nullopt;
  const auto name = body.subspan(kBefore);
  const std::string_view text(reinterpret_cast<const char*>(name.data()), name.size());
  if (text.size() > kServerNameMax || text.contains('\0')) return std::nullopt;
  return text;
}

/// OpenSSL calls it once it has taken a ClientHello apart, and before it judges what it offers.
int note_hello(SSL* ssl, int* /*alert*/, void* /*argument*/) {
  auto* const state = static_cast<SocketState*>(SSL_get_app_data(ssl));
  if (state == nullptr) return SSL_CLIENT_HELLO_SUCCESS;
  const unsigned char* bytes = nullptr;
  std::size_t size = 0;
  state->valid_hello = true;
  if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &bytes, &size) == 1) {
    const auto name = host_name({bytes, size});
    state->valid_hello = name.has_value();
    state->server_name = name.value_or("");
  }
  return SSL_CLIENT_HELLO_SUCCESS;  // whether it can be served OpenSSL finds out itself
}

int note_hello_and_alpn(SSL* ssl, int* alert, void* argument) {
  auto* const state = static_cast<SocketState*>(SSL_get_app_data(ssl));
  const unsigned char* bytes = nullptr;
  std::size_t size = 0;
  const int result = note_hello(ssl, alert, argument);
  if (state == nullptr || !state->valid_hello ||
      SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation, &bytes, &size) != 1)
    return result;
  if (const auto list = protocol_list({bytes, size})) {
    state->alpn_offer = list->substr(0, kAlpnOfferMax);
  } else {
    state->valid_hello = false;
    state->server_name.clear();
  }
  return result;
}

/// OpenSSL calls it before each message that it reads or makes.
void let_others_in(const SSL* ssl, int where, int /*value*/) {
  if ((where & SSL_CB_LOOP) == 0) return;
  const auto* const state = static_cast<SocketState*>(SSL_get_app_data(ssl));
  if (state == nullptr || state->between == nullptr) return;
  const KeyWatch::Pause pause;
  (*state->between)();
  ERR_clear_error();  // what others left there would be taken for this handshake's
}

/// `value` is level and description of an alert.
void note_state(const SSL* ssl, int where, int value) {
  let_others_in(ssl, where, value);
  if (where != SSL_CB_READ_ALERT || (value & 0xff) == SSL_AD_CLOSE_NOTIFY) return;
  auto* const state = static_cast<SocketState*>(SSL_get_app_data(ssl));
  if (state != nullptr) state->incoming_alert = static_cast<std::int16_t>(value & 0xff);
}

}  // namespace

void watch_clients(ssl_ctx_st* context, bool alpn) {
  SSL_CTX_set_client_hello_cb(context, alpn ? note_hello_and_alpn : note_hello, nullptr);
  SSL_CTX_set_info_callback(context, note_state);
}

void watch_targets(ssl_ctx_st* context) {
  SSL_CTX_set_info_callback(context, let_others_in);
}

}  // namespace tlsplice::tls
