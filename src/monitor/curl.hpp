// libcurl, loaded when a check needs it, into the monitor process alone. Linked, it would bring two dozen
// libraries (LDAP, Kerberos, SSH, RTMP) into the master and each worker: a third more time to start, 1.5 MB
// of memory for a service, and code in the processes that have keys and strangers. Its functions have here
// the names that they have there, without "curl_".
#pragma once

#include <curl/curl.h>

#include "tlsplice/base/result.hpp"

namespace tlsplice::monitor {

struct Curl {
  decltype(&curl_global_init) global_init;
  decltype(&curl_easy_init) easy_init;
  decltype(&curl_easy_setopt) easy_setopt;
  decltype(&curl_easy_getinfo) easy_getinfo;
  decltype(&curl_easy_cleanup) easy_cleanup;
  decltype(&curl_slist_append) slist_append;
  decltype(&curl_slist_free_all) slist_free_all;
  decltype(&curl_multi_init) multi_init;
  decltype(&curl_multi_setopt) multi_setopt;
  decltype(&curl_multi_add_handle) multi_add_handle;
  decltype(&curl_multi_remove_handle) multi_remove_handle;
  decltype(&curl_multi_socket_action) multi_socket_action;
  decltype(&curl_multi_info_read) multi_info_read;
  decltype(&curl_multi_cleanup) multi_cleanup;

  bool shares_openssl;  // with this program: settings of ours can be given to connections of its

  /// Loaded and initialised once in a process, for ever; `tls`: to be used for HTTPS too. The error says what
  /// to install.
  static base::Result<const Curl*> load(bool tls);
};

}  // namespace tlsplice::monitor
