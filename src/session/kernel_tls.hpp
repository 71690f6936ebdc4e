// Moving a TLS connection into the kernel once its handshake is done: where the configuration wants it, the
// kernel has the cipher and the connection is at a clean boundary. Everything else stays in user space, under
// our own record layer if its suite is an AEAD and under OpenSSL's if not, and says why.
#pragma once

#include <memory>

#include "tlsplice/ktls/kernel.hpp"
#include "tlsplice/ktls/stream.hpp"
#include "tlsplice/observe/counters.hpp"
#include "tlsplice/policy/config.hpp"
#include "tlsplice/tls/stream.hpp"

namespace tlsplice::session {

class KernelTls {
 public:
  KernelTls(policy::Ktls wish, const ktls::Support& support, std::uint64_t records_per_key)
      : wish_(wish), support_(support), records_per_key_(records_per_key) {}

  /// Right after accept or connect, before the first byte of the handshake (trap 18).
  void attach(int socket);

  struct Handover {
    std::unique_ptr<net::Stream>
        stream;         // null: refused, because ktls = "require" or because keys went in only halfway
    const char* where;  // "kernel", or the reason against it
  };
  Handover take_over(std::unique_ptr<tls::TlsStream> stream, observe::Counters& counters) const;

 private:
  struct Reason {
    const char* name;
    observe::Counter counter;
  };
  const Reason* against(const tls::TlsStream::Keys& keys) const;

  policy::Ktls wish_;
  const ktls::Support& support_;
  std::uint64_t records_per_key_;
  int attach_error_ = 0;
};

}  // namespace tlsplice::session
