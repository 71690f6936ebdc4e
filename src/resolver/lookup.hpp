// One lookup of one name, A and AAAA, in /etc/hosts and then by DNS: a channel of c-ares that lives as long
// as the lookup. Nothing here waits: its sockets are polled by whoever owns it.
#pragma once

#include <ares.h>
#include <poll.h>

#include <optional>
#include <string>
#include <vector>

#include "tlsplice/base/clock.hpp"
#include "tlsplice/net/address.hpp"

namespace tlsplice::resolver {

class Lookup {
 public:
  struct Answer {
    std::string why_not;  // empty: it was found
    std::vector<net::Address> addresses;
    std::optional<base::Milliseconds> ttl;  // nullopt: /etc/hosts has none
  };

  /// `servers` may be empty: those of resolv.conf.
  Lookup(std::string name, std::string servers, base::Milliseconds attempt);
  Lookup(const Lookup&) = delete;
  Lookup& operator=(const Lookup&) = delete;
  ~Lookup() { close(); }

  const std::string& name() const { return name_; }
  const std::optional<Answer>& answer() const { return answer_; }

  /// Adds its sockets; go_on() is told what became of them, or that a while has passed.
  void watch(std::vector<pollfd>& watched);
  void go_on(std::vector<pollfd>::const_iterator& polled);
  /// At the latest.
  base::Instant next_deadline() const { return deadline_; }

 private:
  enum class Source : std::uint8_t { kHosts, kDns };
  void ask(Source source);
  void take(int status, ares_addrinfo* found);
  void settle();
  void fail(int status);
  void close();
  std::vector<pollfd> sockets() const;

  std::string name_;
  std::string servers_;
  base::Milliseconds attempt_;
  Source source_ = Source::kHosts;
  ares_channel channel_ = nullptr;
  std::optional<int> status_;  // of what was asked of that source, when it is done
  Answer found_;
  std::optional<Answer> answer_;
  std::size_t watched_ = 0;  // sockets
  base::Instant deadline_{};
  base::Instant give_up_at_;
};

}  // namespace tlsplice::resolver
