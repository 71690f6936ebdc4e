// What a listener or a connection to a TLS target negotiates with: OpenSSL contexts built from a predefined
// security policy and, for a listener, its certificate. Built once by the master, before privileges drop;
// workers inherit them by fork and only read them. The only room that knows OpenSSL.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tlsplice/policy/config.hpp"
#include "tlsplice/policy/ssl_policies.hpp"

struct ssl_ctx_st;

namespace tlsplice::tls {

/// Something of the policy that cannot be offered, and why, for people.
struct Missing {
  std::string name;
  std::string why;
  bool library = true;  // false: the certificate's key is of the other kind, which is nobody's fault
};

/// What the linked OpenSSL can offer of a policy with this certificate.
struct Offer {
  std::vector<std::string> protocols;
  std::vector<std::string> ciphers;  // in server preference
  std::vector<std::string> groups;
  std::vector<Missing> missing;
  std::vector<std::string> warnings;  // an expired certificate, for instance
};

/// "OpenSSL 3.0.22 25 Aug 2026"
std::string library_version();

/// Lets OpenSSL allocate through base/memory.hpp. To be called before anything else of this room.
void use_memory_reserve();

class Context {
 public:
  Context(Context&&) noexcept;
  Context& operator=(Context&&) noexcept;
  ~Context();

  /// For a TLS listener. Opens certificate and key; on failure every mistake, in the form of the
  /// configuration's own.
  static std::expected<Context, std::vector<policy::Mistake>> server(const policy::Listener& listener);
  /// For connections to TLS targets: under kDefaultSslPolicy, the target's certificate not validated (spec:
  /// nlb-facts 3).
  static base::Result<Context> client();

  const Offer& offer() const { return offer_; }
  ssl_ctx_st* get() const { return context_.get(); }

 private:
  struct Free {
    void operator()(ssl_ctx_st* context) const;
  };
  explicit Context(ssl_ctx_st* context);

  std::unique_ptr<ssl_ctx_st, Free> context_;
  Offer offer_;
};

}  // namespace tlsplice::tls
