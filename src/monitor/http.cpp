// libcurl may call watch() and wait() from within any of its functions that takes the multi handle, and none
// of them may be called from within a callback: so callbacks only take notes, and act() tells them
// afterwards.
#include "http.hpp"

#include <fmt/format.h>

#include "tlsplice/tls/foreign.hpp"

namespace tlsplice::monitor {
namespace {

constexpr unsigned kFinalStatusMin = 200;  // below are interim responses (RFC 9110, section 15.2)

/// OpenSSL's reason alone of "OpenSSL SSL_read: error:0A000410:SSL routines::ssl/tls alert handshake
/// failure, errno 0"; other words as they are.
std::string_view reason_in(std::string_view words) {
  const std::size_t error = words.find("error:");
  if (error == std::string_view::npos) return words;
  words = words.substr(0, words.find(", errno", error));
  return words.substr(words.rfind(':') + 1);
}

}  // namespace

base::Result<std::unique_ptr<Http>> Http::make(event_base* loop, bool tls) {
  const auto curl = Curl::load(tls);
  if (!curl) return base::fail(curl.error());
  CURLM* const multi = (*curl)->multi_init();
  if (multi == nullptr) return base::fail(base::Error::system("set up libcurl", ENOMEM));
  return std::unique_ptr<Http>(new Http(loop, **curl, multi));
}

Http::Http(event_base* loop, const Curl& curl, CURLM* multi)
    : loop_(loop),
      curl_(curl),
      multi_(multi),
      timer_(
          loop, -1, 0,
          [](evutil_socket_t, short, void* self) { static_cast<Http*>(self)->act(CURL_SOCKET_TIMEOUT, 0); },
          this) {
  curl_.multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, &Http::watch);
  curl_.multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
  curl_.multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, &Http::wait);
  curl_.multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
}

Http::~Http() {
  curl_.multi_cleanup(multi_);
}

int Http::watch(CURL* /*handle*/, curl_socket_t socket, int what, void* self, void* /*of_socket*/) {
  Http& http = *static_cast<Http*>(self);
  http.sockets_.erase(socket);
  if (what == CURL_POLL_REMOVE) return 0;
  const int wanted =
      ((what & CURL_POLL_IN) != 0 ? EV_READ : 0) | ((what & CURL_POLL_OUT) != 0 ? EV_WRITE : 0);
  const auto ready = [](evutil_socket_t descriptor, short events, void* of) {
    static_cast<Http*>(of)->act(descriptor, ((events & EV_READ) != 0 ? CURL_CSELECT_IN : 0) |
                                                ((events & EV_WRITE) != 0 ? CURL_CSELECT_OUT : 0));
  };
  const auto added = http.sockets_.try_emplace(socket, http.loop_, socket,
                                               static_cast<short>(wanted | EV_PERSIST), ready, self);
  added.first->second.add();
  return 0;
}

int Http::wait(CURLM* /*multi*/, long milliseconds, void* self) {
  Event& timer = static_cast<Http*>(self)->timer_;
  milliseconds < 0 ? timer.remove() : timer.add(base::Milliseconds(milliseconds));
  return 0;
}

void Http::act(curl_socket_t socket, int what) {
  int running = 0;
  curl_.multi_socket_action(multi_, socket, what, &running);
  while (const CURLMsg* const message = curl_.multi_info_read(multi_, &running)) {
    Exchange* ended = nullptr;
    curl_.easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &ended);
    ended->end(message->data.result);
  }
  while (!news_.empty()) {
    Exchange& exchange = news_.front();
    exchange.unlink();
    exchange.changed_(exchange.self_);
  }
}

std::unique_ptr<Exchange> Exchange::begin(Http& http, base::Fd connection, const Request& request,
                                          Callback changed, void* self) {
  std::unique_ptr<Exchange> made(new Exchange(http, std::move(connection), request.context, changed, self));
  if (made->handle_ == nullptr || !made->prepare(request) || !made->restrict_to_http1()) return nullptr;
  return http.curl_.multi_add_handle(http.multi_, made->handle_) == CURLM_OK ? std::move(made) : nullptr;
}

Exchange::Exchange(Http& http, base::Fd connection, const tls::Context* context, Callback changed, void* self)
    : http_(http),
      connection_(std::move(connection)),
      context_(context),
      changed_(changed),
      self_(self),
      handle_(http.curl_.easy_init()) {}

Exchange::~Exchange() {
  unlink();
  http_.curl_.multi_remove_handle(http_.multi_, handle_);
  http_.curl_.easy_cleanup(handle_);
  http_.curl_.slist_free_all(headers_);
}

/// libcurl 7.88 does not believe that the connection is made and calls connect(2) once more, as one may to
/// learn what became of a connect that did not wait: it succeeds. Later ones believe it.
bool Exchange::prepare(const Request& request) {
  for (const std::string& header : {"Host: " + request.host, std::string("Connection: close")}) {
    curl_slist* const longer = http_.curl_.slist_append(headers_, header.c_str());
    if (longer == nullptr) return false;
    headers_ = longer;
  }
  const std::string url =
      fmt::format("{}://{}/", context_ != nullptr ? "https" : "http", request.peer.text());
  const auto connected =
      +[](void*, curl_socket_t, curlsocktype) -> int { return CURL_SOCKOPT_ALREADY_CONNECTED; };
  return set(CURLOPT_PRIVATE, this) && set(CURLOPT_ERRORBUFFER, &words_[0]) &&
         set(CURLOPT_URL, url.c_str()) && set(CURLOPT_REQUEST_TARGET, request.path.c_str()) &&
         set(CURLOPT_HTTPHEADER, headers_) && set(CURLOPT_USERAGENT, request.user_agent.c_str()) &&
         set(CURLOPT_OPENSOCKETFUNCTION, &Exchange::hand_over) && set(CURLOPT_OPENSOCKETDATA, this) &&
         set(CURLOPT_SOCKOPTFUNCTION, connected) && set(CURLOPT_HEADERFUNCTION, &Exchange::take_header) &&
         set(CURLOPT_HEADERDATA, this) && set(CURLOPT_WRITEFUNCTION, &Exchange::take_content) &&
         set(CURLOPT_WRITEDATA, this);
}

/// Nothing of what libcurl can do besides, whatever the environment says. Without a file of authorities none
/// is read for each connection; the certificate is not validated.
bool Exchange::restrict_to_http1() {
  const bool done = set(CURLOPT_PROTOCOLS_STR, context_ != nullptr ? "https" : "http") &&
                    set(CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_1_1}) && set(CURLOPT_PROXY, "") &&
                    set(CURLOPT_FRESH_CONNECT, 1L) && set(CURLOPT_FORBID_REUSE, 1L) &&
                    set(CURLOPT_HTTP_CONTENT_DECODING, 0L) && set(CURLOPT_NOSIGNAL, 1L);
  if (!done || context_ == nullptr) return done;
  return set(CURLOPT_SSL_CTX_FUNCTION, &Exchange::secure) && set(CURLOPT_SSL_CTX_DATA, this) &&
         set(CURLOPT_SSL_VERIFYPEER, 0L) && set(CURLOPT_SSL_VERIFYHOST, 0L) &&
         set(CURLOPT_CAINFO, static_cast<const char*>(nullptr)) &&
         set(CURLOPT_CAPATH, static_cast<const char*>(nullptr)) && set(CURLOPT_SSL_ENABLE_ALPN, 0L) &&
         set(CURLOPT_SSL_SESSIONID_CACHE, 0L);
}

/// Asked for another one, which does not happen, it has none (-1, CURL_SOCKET_BAD).
curl_socket_t Exchange::hand_over(void* self, curlsocktype /*purpose*/, curl_sockaddr* /*address*/) {
  return static_cast<Exchange*>(self)->connection_.release();
}

CURLcode Exchange::secure(CURL* /*handle*/, void* theirs, void* self) {
  tls::configure(static_cast<ssl_ctx_st*>(theirs), *static_cast<Exchange*>(self)->context_);
  return CURLE_OK;
}

/// Also of trailers, which are content to us. Returning less than there is ends the exchange.
std::size_t Exchange::take_header(char* line, std::size_t /*one*/, std::size_t size, void* self) {
  Exchange& exchange = *static_cast<Exchange*>(self);
  if (exchange.status_) return take_content(line, 1, size, self);
  exchange.head_size_ += size;
  if (exchange.head_size_ > kHeadMax) return 0;
  if (line[0] != '\r' && line[0] != '\n') return size;
  long status = 0;
  exchange.http_.curl_.easy_getinfo(exchange.handle_, CURLINFO_RESPONSE_CODE, &status);
  if (status < kFinalStatusMin) return size;
  exchange.status_ = static_cast<unsigned>(status);
  exchange.tell_later();
  return size;
}

std::size_t Exchange::take_content(char* /*bytes*/, std::size_t /*one*/, std::size_t size, void* self) {
  Exchange& exchange = *static_cast<Exchange*>(self);
  exchange.content_size_ += size;
  return exchange.content_size_ > kContentMax ? 0 : size;
}

bool Exchange::in_handshake() const {
  curl_off_t complete = 0;  // after so many microseconds
  http_.curl_.easy_getinfo(handle_, CURLINFO_APPCONNECT_TIME_T, &complete);
  return context_ != nullptr && complete == 0;
}

void Exchange::end(CURLcode result) {
  over_ = true;
  if (!status_) trouble_ = trouble_of(result);
  tell_later();
}

std::string Exchange::trouble_of(CURLcode result) const {
  const char* const doing = in_handshake() ? "TLS handshake" : "read the response";
  // A single line may have more than that: libcurl then has no room for it.
  if (head_size_ > kHeadMax || (result == CURLE_OUT_OF_MEMORY && !in_handshake()))
    return "no HTTP response: its headers are longer than 16 KiB";
  long error = 0;
  http_.curl_.easy_getinfo(handle_, CURLINFO_OS_ERRNO, &error);
  if (error != 0) return base::Error::system(doing, static_cast<int>(error)).text();
  const std::string_view words = reason_in(words_);
  const bool closed = result == CURLE_OK || result == CURLE_GOT_NOTHING || result == CURLE_PARTIAL_FILE ||
                      words.empty() || words.contains("SSL_ERROR_SYSCALL") ||
                      words.contains("SSL_ERROR_ZERO_RETURN");
  if (closed) return fmt::format("{}: the target closed the connection", doing);
  if (words.contains("HTTP/0.9")) return "no HTTP response: its first line is none of HTTP/1";
  const bool io =
      result == CURLE_SSL_CONNECT_ERROR || result == CURLE_RECV_ERROR || result == CURLE_SEND_ERROR;
  return fmt::format("{}: {}", io ? doing : "no HTTP response", words);
}

void Exchange::tell_later() {
  if (!linked()) http_.news_.push_back(*this);
}

}  // namespace tlsplice::monitor
