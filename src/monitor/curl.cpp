#include "curl.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tlsplice/base/fd.hpp"
#include "tlsplice/monitor/monitor.hpp"

namespace tlsplice::monitor {
namespace {

constexpr unsigned kVersionMin = 0x07'55'00;      // 7.85, with CURLOPT_PROTOCOLS_STR
constexpr const char* kLibrary = "libcurl.so.4";  // since 2006; Debian's package libcurl4

base::Result<Curl> find_all() {
  void* const library = ::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  const char* missing = library == nullptr ? kLibrary : nullptr;
  const auto find = [&]<typename Function>(const char* name, Function& function) {
    if (missing != nullptr) return;
    function = reinterpret_cast<Function>(::dlsym(library, name));
    if (function == nullptr) missing = name;
  };
  Curl curl{};
  decltype(&curl_version_info) version_info = nullptr;
  find("curl_version_info", version_info);
  find("curl_global_init", curl.global_init);
  find("curl_easy_init", curl.easy_init);
  find("curl_easy_setopt", curl.easy_setopt);
  find("curl_easy_getinfo", curl.easy_getinfo);
  find("curl_easy_cleanup", curl.easy_cleanup);
  find("curl_slist_append", curl.slist_append);
  find("curl_slist_free_all", curl.slist_free_all);
  find("curl_multi_init", curl.multi_init);
  find("curl_multi_setopt", curl.multi_setopt);
  find("curl_multi_add_handle", curl.multi_add_handle);
  find("curl_multi_remove_handle", curl.multi_remove_handle);
  find("curl_multi_socket_action", curl.multi_socket_action);
  find("curl_multi_info_read", curl.multi_info_read);
  find("curl_multi_cleanup", curl.multi_cleanup);
  if (missing != nullptr) {
    return base::fail(base::Error::invalid(
        fmt::format("health checks over HTTP need libcurl ({}); install the package libcurl4", ::dlerror())));
  }
  const curl_version_info_data* const version = version_info(CURLVERSION_NOW);
  if (version->version_num < kVersionMin) {
    return base::fail(base::Error::invalid(
        fmt::format("health checks over HTTP need libcurl 7.85 or later, and it is {}", version->version)));
  }
  // Any function would do. The library's own dependencies are searched, and what this program was linked
  // with.
  void* const theirs = ::dlsym(library, "SSL_CTX_free");
  curl.shares_openssl = theirs != nullptr && theirs == ::dlsym(RTLD_DEFAULT, "SSL_CTX_free");
  if (curl.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
    return base::fail(base::Error::invalid("libcurl cannot be initialised"));
  return curl;
}

}  // namespace

base::Result<const Curl*> Curl::load(bool tls) {
  static const base::Result<Curl> loaded = find_all();
  if (!loaded) return base::fail(loaded.error());
  if (tls && !loaded->shares_openssl) {
    return base::fail(base::Error::invalid(
        "health checks over HTTPS need a libcurl.so.4 that uses the OpenSSL tlsplice is linked with"));
  }
  return &*loaded;
}

std::optional<std::string> why_no_http_checks(bool https) {
  static bool found[] = {false, false};
  if (found[https]) return std::nullopt;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return std::nullopt;  // nothing is known; the monitor will say it
  const base::Fd reading(ends[0]);
  base::Fd writing(ends[1]);
  const pid_t process = ::fork();
  if (process < 0) return std::nullopt;
  if (process == 0) {
    const auto curl = Curl::load(https);
    const std::string words = curl ? "" : curl.error().text();
    ::_exit(::write(writing.get(), words.data(), words.size()) == std::ssize(words) ? 0 : 1);
  }
  writing.reset();
  std::string words(4096, '\0');
  const ssize_t size = ::read(reading.get(), words.data(), words.size());
  words.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  int status = 0;
  ::waitpid(process, &status, 0);
  if (words.empty() && status != 0)
    words = std::string("loading ") + kLibrary + " ended the process that tried";
  found[https] = words.empty();
  if (words.empty()) return std::nullopt;
  return words;
}

}  // namespace tlsplice::monitor
