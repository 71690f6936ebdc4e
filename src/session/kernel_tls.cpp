#include "kernel_tls.hpp"

#include "tlsplice/net/socket.hpp"

namespace tlsplice::session {
namespace {

using C = tlsplice_counters;

}  // namespace

void KernelTls::attach(int socket) {
  if (wish_ != policy::Ktls::kOff && support_.ulp) attach_error_ = ktls::attach(socket);
}

/// Null when nothing is against it.
const KernelTls::Reason* KernelTls::against(const tls::TlsStream::Keys& keys) const {
  static constexpr Reason kOff{"off", &C::UserTlsConnectionCount_Off};
  static constexpr Reason kKernel{"no_kernel_tls", &C::UserTlsConnectionCount_Kernel};
  static constexpr Reason kPeerGone{"peer_gone", &C::UserTlsConnectionCount_PeerGone};
  static constexpr Reason kCipher{"cipher", &C::UserTlsConnectionCount_Cipher};
  // In the order of tls::StayReason.
  static constexpr Reason kStay[] = {{"protocol", &C::UserTlsConnectionCount_Protocol},
                                     kCipher,
                                     {"record_size", &C::UserTlsConnectionCount_RecordSize},
                                     {"pending_data", &C::UserTlsConnectionCount_PendingData},
                                     {"library", &C::UserTlsConnectionCount_Library}};
  if (wish_ == policy::Ktls::kOff) return &kOff;
  if (!support_.ulp) return &kKernel;
  if (attach_error_ != 0) return &kPeerGone;
  if (!keys) return &kStay[static_cast<std::size_t>(keys.error())];
  return support_.has(keys->version, keys->cipher) ? nullptr : &kCipher;
}

KernelTls::Handover KernelTls::take_over(std::unique_ptr<tls::TlsStream> stream,
                                         observe::Counters& counters) const {
  const tls::TlsStream::Keys keys = stream->traffic_keys();
  const Reason* reason = against(keys);
  // Receiving first: a refusal then leaves the socket as it was (trap 25).
  if (reason == nullptr &&
      ktls::install(stream->fd(), ktls::Way::kReceive, keys->version, keys->cipher, keys->receive) != 0) {
    static constexpr Reason kRefused{"kernel_refused", &C::UserTlsConnectionCount_Kernel};
    reason = &kRefused;
  }
  if (reason != nullptr) {
    counters.add(reason->counter);
    if (wish_ == policy::Ktls::kRequire) {
      counters.add(&C::KtlsRequiredErrorCount);
      net::reset_on_close(stream->fd());
      return {nullptr, reason->name};
    }
    return {tls::TlsStream::settle(std::move(stream), keys, records_per_key_), reason->name};
  }
  if (ktls::install(stream->fd(), ktls::Way::kSend, keys->version, keys->cipher, keys->send) != 0) {
    counters.add(&C::UserTlsConnectionCount_Kernel);
    net::reset_on_close(stream->fd());
    return {nullptr, "kernel_refused"};
  }
  if (keys->version == ktls::Version::kTls13) ktls::expect_no_padding(stream->fd());
  counters.add(&C::KtlsConnectionCount);
  auto moved = std::make_unique<ktls::KtlsStream>(std::move(*stream).release_socket(), *keys, support_,
                                                  records_per_key_);
  return {std::move(moved), "kernel"};
}

}  // namespace tlsplice::session
