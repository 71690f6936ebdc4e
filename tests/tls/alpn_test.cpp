// Promised: a listener agrees on the first application protocol of its policy that the client offers too, in
// TLS 1.2 and 1.3 alike; without one the handshake goes on. What the client offered is known of failed
// handshakes too, as much of it as is shown, and a hostile list is no ClientHello that can be read. To a TLS
// target one protocol is offered, or none.
#include <gtest/gtest.h>

#include "served.hpp"
#include "tlsplice/policy/alpn_policies.hpp"

namespace tlsplice::tls {
namespace {

using policy::AlpnPolicy;
using tests::Connection;
using tests::TlsPeer;

constexpr AlpnPolicy kPolicies[] = {AlpnPolicy::kNone, AlpnPolicy::kHttp1Only, AlpnPolicy::kHttp2Only,
                                    AlpnPolicy::kHttp2Optional, AlpnPolicy::kHttp2Preferred};

std::string list_of(const std::vector<std::string>& protocols) {
  std::string list;
  for (const std::string& protocol : protocols) list += static_cast<char>(protocol.size()) + protocol;
  return list;
}

void offer(SSL* ssl, const std::string& list) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(list.data());
  ASSERT_EQ(SSL_set_alpn_protos(ssl, bytes, static_cast<unsigned int>(list.size())), 0);
}

std::string agreed(const SSL* ssl) {
  const unsigned char* protocol = nullptr;
  unsigned int size = 0;
  SSL_get0_alpn_selected(ssl, &protocol, &size);
  return size == 0 ? "-" : std::string(reinterpret_cast<const char*>(protocol), size);
}

class Alpn : public testing::Test {
 protected:
  /// What both say that they agreed on, and what is known of the offer.
  using Result = std::pair<std::string, std::string>;
  Result negotiate(AlpnPolicy policy, const std::vector<std::string>& protocols, int version) {
    const Context context = tests::server_context(tests::kEveryVersion, tests::Key::kRsa2048, policy);
    Connection tcp = tests::connection();
    TlsPeer client = TlsPeer::client(std::move(tcp.peer), {version});
    if (!protocols.empty()) offer(client.ssl(), list_of(protocols));
    const auto both = tests::serve(world_, context, std::move(client), std::move(tcp.ours));
    EXPECT_EQ(agreed(both.client.ssl()), both.stream->alpn());
    return {both.stream->alpn(), std::string(both.stream->alpn_offer())};
  }
  /// What is left of a handshake that fails, of a client with that extension.
  HandshakeError fail(AlpnPolicy policy, const std::string& extension, int version = TLS1_2_VERSION,
                      const char* cipher = nullptr);

  tests::World world_;
};

struct Case {
  std::vector<std::string> offer;
  const char* agreed[std::size(kPolicies)];
};

TEST_F(Alpn, ThePolicysOrderCounts) {
  const Case cases[] = {{{"h2", "http/1.1"}, {"-", "http/1.1", "h2", "http/1.1", "h2"}},
                        {{"http/1.1", "h2"}, {"-", "http/1.1", "h2", "http/1.1", "h2"}},
                        {{"http/1.0", "http/1.1"}, {"-", "http/1.1", "-", "http/1.1", "http/1.1"}},
                        {{"http/1.0", "h2"}, {"-", "http/1.0", "h2", "http/1.0", "h2"}},
                        {{"h2"}, {"-", "-", "h2", "h2", "h2"}},
                        {{"http/1.0"}, {"-", "http/1.0", "-", "http/1.0", "http/1.0"}},
                        {{"h3", "acme-tls/1", "H2", "h", "h2c", "http/1.1 "}, {"-", "-", "-", "-", "-"}},
                        {{std::string(255, 'h'), " h2", "h2"}, {"-", "-", "h2", "h2", "h2"}},
                        {{}, {"-", "-", "-", "-", "-"}}};
  for (const Case& one : cases) {
    for (const AlpnPolicy policy : kPolicies) {
      for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
        const bool none = policy == AlpnPolicy::kNone;
        EXPECT_EQ(negotiate(policy, one.offer, version),
                  (Result{one.agreed[static_cast<std::size_t>(policy)],
                          none ? "" : list_of(one.offer).substr(0, 256)}))
            << to_string(policy) << testing::PrintToString(one.offer);
      }
    }
  }
}

TEST_F(Alpn, AnEndlessOfferIsReadToItsEndButNotKept) {
  std::vector<std::string> protocols(4000, "x");
  protocols.emplace_back("h2");
  const Result result = negotiate(AlpnPolicy::kHttp2Preferred, protocols, TLS1_3_VERSION);
  EXPECT_EQ(result, (Result{"h2", list_of(std::vector<std::string>(128, "x"))}));
}

int put_extension(SSL* /*ssl*/, unsigned int /*type*/, const unsigned char** out, std::size_t* size,
                  int* /*alert*/, void* body) {
  const auto& bytes = *static_cast<const std::string*>(body);
  *out = reinterpret_cast<const unsigned char*>(bytes.data());
  *size = bytes.size();
  return 1;
}

HandshakeError Alpn::fail(AlpnPolicy policy, const std::string& extension, int version, const char* cipher) {
  const Context context = tests::server_context(policy::kDefaultSslPolicy, tests::Key::kRsa2048, policy);
  Connection tcp = tests::connection();
  // OpenSSL takes nobody else's body for an extension that it knows: so the number of another one is written
  // over.
  constexpr unsigned int kPlaceholder = 0xff77;
  std::string hello;
  {
    std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> made(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
    SSL_CTX_set_max_proto_version(made.get(), version);
    SSL_CTX_set_min_proto_version(made.get(), version);
    if (cipher != nullptr) SSL_CTX_set_cipher_list(made.get(), cipher);
    std::string body = extension;
    SSL_CTX_add_client_custom_ext(made.get(), kPlaceholder, put_extension, nullptr, &body, nullptr, nullptr);
    std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(made.get()), SSL_free);
    SSL_set_tlsext_host_name(ssl.get(), "a.example");
    BIO* const out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), out);
    SSL_set_connect_state(ssl.get());
    SSL_do_handshake(ssl.get());
    char* bytes = nullptr;
    const long size = BIO_get_mem_data(out, &bytes);
    hello.assign(bytes, static_cast<std::size_t>(size));
  }
  hello.replace(hello.rfind("\xff\x77"), 2, std::string("\0\x10", 2));
  std::jthread peer([&] {
    tests::send_all(tcp.peer.get(), hello);
    tests::end_write(tcp.peer);
    tests::receive(tcp.peer.get());
  });
  auto result = world_.run(handshake(world_.ring(), world_.stop(), std::move(tcp.ours), context,
                                     TlsStream::Role::kServer, tests::kPatience));
  EXPECT_FALSE(result.has_value());
  return result ? HandshakeError{} : result.error();
}

std::string vector_of(const std::string& list) {
  return {static_cast<char>(list.size() >> 8), static_cast<char>(list.size() & 0xff)};
}

TEST_F(Alpn, TheOfferIsKnownOfAFailedHandshake) {
  const std::string list = list_of({"h2", "http/1.1"});
  for (const AlpnPolicy policy : kPolicies) {
    const auto left = fail(policy, vector_of(list) + list, TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256");
    EXPECT_EQ(left.reason, NegotiationError::kCipher);
    EXPECT_EQ(left.alpn_offer, policy == AlpnPolicy::kNone ? "" : list);
    EXPECT_TRUE(left.valid_hello);
    EXPECT_EQ(left.server_name, "a.example");
  }
}

TEST_F(Alpn, AHostileListIsRefused) {
  using std::string_literals::operator""s;
  for (const std::string& body :
       {""s, "\0"s, "\0\0"s, "\0\1\2"s, "\0\1\0"s, "\0\3\2h2h"s, "\0\4\2h2\0"s, "\0\4\2h2\1"s, "\0\5\2h2"s,
        "\xff\xff\2h2"s, "\0\3\3h2"s, "\0\3\xffh2"s, "\2h2"s}) {
    const auto left = fail(AlpnPolicy::kHttp2Preferred, body);
    EXPECT_EQ(left.fault, base::Fault::kProtocol) << testing::PrintToString(body);
    EXPECT_FALSE(left.valid_hello) << testing::PrintToString(body);
    EXPECT_EQ(left.alpn_offer + left.server_name, "");
  }
}

/// A TLS target that chooses with this callback, or knows no ALPN.
class TargetAlpn : public Alpn {
 protected:
  Handshaken connect(std::string_view alpn, SSL_CTX_alpn_select_cb_func choose, const char* chosen = "") {
    const Context context = Context::client().value();
    Connection tcp = tests::connection();
    TlsPeer target =
        TlsPeer::server(std::move(tcp.peer), tests::Certificates::shared().of(tests::Key::kRsa2048));
    if (choose != nullptr)
      SSL_CTX_set_alpn_select_cb(SSL_get_SSL_CTX(target.ssl()), choose, const_cast<char*>(chosen));
    std::jthread peer([&] {
      target.handshake();
      agreed_ = agreed(target.ssl());
    });
    return world_.run(handshake(world_.ring(), world_.stop(), std::move(tcp.ours), context,
                                TlsStream::Role::kClient, tests::kPatience, alpn));
  }

  /// Takes the only one that is offered, which must be `expected`.
  static int take(SSL* /*ssl*/, const unsigned char** out, unsigned char* size, const unsigned char* list,
                  unsigned int list_size, void* expected) {
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(list), list_size),
              list_of({static_cast<const char*>(expected)}));
    *out = list + 1;
    *size = list[0];
    return SSL_TLSEXT_ERR_OK;
  }
  static int refuse(SSL* /*ssl*/, const unsigned char** /*out*/, unsigned char* /*size*/,
                    const unsigned char* /*list*/, unsigned int /*list_size*/, void* /*expected*/) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }

  std::string agreed_;
};

TEST_F(TargetAlpn, IsOfferedOneProtocol) {
  for (const char* const protocol : {"h2", "http/1.1", "http/1.0"}) {
    const auto stream = connect(protocol, take, protocol);
    ASSERT_TRUE(stream.has_value());
    EXPECT_STREQ((*stream)->alpn(), protocol);
    EXPECT_EQ(agreed_, protocol);
  }
}

TEST_F(TargetAlpn, IsOfferedNothingUnlessAskedFor) {
  const auto stream = connect("", refuse);
  ASSERT_TRUE(stream.has_value()) << "its callback is never called";
  EXPECT_STREQ((*stream)->alpn(), "-");
}

TEST_F(TargetAlpn, MayKnowNothingOfIt) {
  const auto stream = connect("h2", nullptr);
  ASSERT_TRUE(stream.has_value());
  EXPECT_STREQ((*stream)->alpn(), "-");
}

TEST_F(TargetAlpn, MayRefuse) {
  const auto stream = connect("h2", refuse);
  ASSERT_FALSE(stream.has_value());
  EXPECT_EQ(stream.error().fault, base::Fault::kProtocol);
  EXPECT_EQ(stream.error().reason, NegotiationError::kAlert);
}

}  // namespace
}  // namespace tlsplice::tls
