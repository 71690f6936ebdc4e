// What is known of one host name, and when to ask for it again. Pure: answers and time come in; what to
// report and what to tell people comes out.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tlsplice/base/clock.hpp"
#include "tlsplice/resolver/resolver.hpp"

namespace tlsplice::resolver {

class Entry {
 public:
  /// What was known of the name before; it is due at once.
  Entry(const std::vector<std::string>& known, const Times& times, base::Instant now);

  /// What a lookup found: at least one address that a target may have. nullopt: it has no time to live.
  struct Found {
    std::vector<std::string> addresses;
    std::optional<base::Milliseconds> ttl;
  };
  /// True when what goes well now went wrong before.
  bool enter(const Found& found, base::Instant now);
  /// It could not be found out, or there is none. True when this is new.
  bool enter_failure(base::Instant now);

  base::Instant due() const { return due_; }
  /// Those that its targets have, sorted, kAddressesOfANameMax at most.
  const std::vector<std::string>& addresses() const { return addresses_; }
  /// How many more there were in the last answer.
  std::size_t left_out() const { return left_out_; }

 private:
  void forget_absent(const Found& found, base::Instant now);

  Times times_;
  base::Instant due_;
  std::map<std::string, std::optional<base::Instant>> absent_since_;  // of those known; nullopt: it was there
  std::vector<std::string> addresses_;
  std::size_t left_out_ = 0;
  std::optional<base::Milliseconds> retry_;  // there is one: the last lookup failed
};

}  // namespace tlsplice::resolver
