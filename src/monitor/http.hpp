// HTTP/1 as a client, over connections that somebody else has made: libcurl, driven by the monitor's loop.
// One request a connection; with a context, TLS comes first. Whatever the peer sends, little of it is kept:
// see the limits. How long it may take is the caller's: destroying an exchange ends it.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "curl.hpp"
#include "loop.hpp"
#include "tlsplice/base/fd.hpp"
#include "tlsplice/base/list.hpp"
#include "tlsplice/net/address.hpp"
#include "tlsplice/tls/context.hpp"

namespace tlsplice::monitor {

class Exchange;

/// What all exchanges of a loop share, and outlive not.
class Http {
 public:
  /// Loads libcurl. Fails when there is none, or, for TLS, when it uses another OpenSSL than this program.
  static base::Result<std::unique_ptr<Http>> make(event_base* loop, bool tls);
  Http(const Http&) = delete;
  Http& operator=(const Http&) = delete;
  ~Http();

 private:
  friend class Exchange;
  Http(event_base* loop, const Curl& curl, CURLM* multi);
  static int watch(CURL* handle, curl_socket_t socket, int what, void* self, void* of_socket);
  static int wait(CURLM* multi, long milliseconds, void* self);
  void act(curl_socket_t socket, int what);

  event_base* loop_;
  const Curl& curl_;
  CURLM* multi_;
  Event timer_;
  std::map<curl_socket_t, Event> sockets_;
  base::List<Exchange> news_;  // those with something to tell, once libcurl is left
};

/// One GET and its response.
class Exchange : public base::ListNode<Exchange> {
 public:
  /// Of the status line and all headers, interim responses' too.
  static constexpr std::size_t kHeadMax = 16 * 1024;
  /// Of the content, so that the peer can end the connection in peace; more of it meets a reset.
  static constexpr std::size_t kContentMax = 256 * 1024;

  struct Request {
    net::Address peer;  // of the connection
    std::string path;   // the target of the request line, sent as it is
    std::string host;   // and User-Agent: the values of these headers
    std::string user_agent;
    const tls::Context* context = nullptr;  // for TLS; outlives the exchange
  };
  using Callback = void (*)(void* self);

  /// Over that connection, which is the exchange's now; it was begun without waiting. Calls `changed`, from
  /// the loop, when status() and when over() change; it may destroy the exchange. Null when there is no
  /// memory for it.
  static std::unique_ptr<Exchange> begin(Http& http, base::Fd connection, const Request& request,
                                         Callback changed, void* self);
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;
  ~Exchange();

  /// Of the final response, as soon as its headers are whole.
  std::optional<unsigned> status() const { return status_; }
  bool over() const { return over_; }
  /// Once over without a status: why, for people.
  const std::string& trouble() const { return trouble_; }
  /// The TLS handshake is not complete.
  bool in_handshake() const;

 private:
  friend class Http;
  Exchange(Http& http, base::Fd connection, const tls::Context* context, Callback changed, void* self);
  bool prepare(const Request& request);
  bool restrict_to_http1();
  template <typename Value>
  bool set(CURLoption option, Value value) {
    return http_.curl_.easy_setopt(handle_, option, value) == CURLE_OK;
  }

  static curl_socket_t hand_over(void* self, curlsocktype purpose, curl_sockaddr* address);
  static CURLcode secure(CURL* handle, void* theirs, void* self);
  static std::size_t take_header(char* line, std::size_t one, std::size_t size, void* self);
  static std::size_t take_content(char* bytes, std::size_t one, std::size_t size, void* self);
  void end(CURLcode result);
  std::string trouble_of(CURLcode result) const;
  void tell_later();

  Http& http_;
  base::Fd connection_;  // until libcurl takes it
  const tls::Context* context_;
  Callback changed_;
  void* self_;
  CURL* handle_;
  curl_slist* headers_ = nullptr;
  std::size_t head_size_ = 0;
  std::size_t content_size_ = 0;
  std::optional<unsigned> status_;
  bool over_ = false;
  std::string trouble_;
  char words_[CURL_ERROR_SIZE] = {};  // libcurl's, of what went wrong
};

}  // namespace tlsplice::monitor
