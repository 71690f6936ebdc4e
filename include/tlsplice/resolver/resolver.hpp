// The resolver process: asks for the addresses of the targets' host names, again and again, apart from
// everything else, so that what a name server answers meets neither a key nor a flow. The master starts it,
// hears from it (report.hpp), and replaces it when it dies or other names are wanted. It has no privileges.
//
// Names are looked up in /etc/hosts, then by DNS as resolv.conf(5) says, which is read anew each time. What
// is known of a name stays while it cannot be asked for; an address that answers no longer have goes only
// when it was missing for a while, so that name servers that answer with a part of their addresses at a time
// change nothing.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tlsplice/base/clock.hpp"
#include "tlsplice/base/fd.hpp"
#include "tlsplice/base/log.hpp"

namespace tlsplice::resolver {

struct Times {
  base::Milliseconds ttl_min{1'000};  // an answer's own time to live says when to ask again, within these
  base::Milliseconds ttl_max{60'000};
  base::Milliseconds hosts{10'000};       // what /etc/hosts says has none
  base::Milliseconds absent{30'000};      // for so long answers must lack an address
  base::Milliseconds first_retry{1'000};  // after a failed lookup, doubled with each one in a row
  base::Milliseconds longest_retry{30'000};
  base::Milliseconds attempt{1'000};  // until a name server is asked again, or the next one
};

struct Setup {
  base::Fd channel;  // SOCK_SEQPACKET, non-blocking: where reports go; its end is ours
  /// The names to look up, with what is known of them already.
  std::map<std::string, std::vector<std::string>> names;
  base::Log log;
  Times times = {};
  std::string servers = {};  // "127.0.0.1:5300,...": instead of resolv.conf's; for tests
};

/// Asks and reports until SIGTERM or SIGQUIT, which the process must have blocked, or until nobody listens
/// any more; returns the exit status. Each name is reported once after its first lookup, however that went,
/// and whenever its addresses change.
int run(Setup setup);

}  // namespace tlsplice::resolver
