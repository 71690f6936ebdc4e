// What the master knows of the host names among the targets: which are wanted, their addresses as the
// resolver process last reported them, and a configuration with addresses in the place of names. Pure.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "tlsplice/policy/config.hpp"

namespace tlsplice::master {

class Names {
 public:
  using Set = std::set<std::string>;
  /// Names are wanted for as long as somebody holds one of these.
  using Claim = std::shared_ptr<const Set>;
  using Addresses = std::map<std::string, std::vector<std::string>>;

  static Set of(const policy::Config& config);

  Claim claim(Set names);
  /// What nobody claims any more is forgotten.
  Set wanted();
  /// What a predecessor of this process had found out: nobody need wait for that.
  void remember(Addresses addresses);

  /// What the resolver process says. kNonsense: it says what it never should.
  enum class Heard : std::uint8_t { kNonsense, kNothingNew, kNews };
  Heard hear(std::string_view text);
  /// Whether each has been looked up, whatever came of it.
  bool all_asked(const Set& names) const;

  /// Of one name; none: none is known.
  const std::vector<std::string>& addresses(std::string_view name) const;
  /// Of those that are wanted and have any.
  Addresses known() const;

  struct Replaced {
    policy::Config config;
    std::vector<std::string> over_limit;  // groups whose names have more addresses than a group has targets
  };
  /// Each name's addresses in the place of the name, each target once.
  Replaced with_addresses(policy::Config config) const;

 private:
  struct Known {
    std::vector<std::string> addresses;
    bool asked = false;
  };
  std::map<std::string, Known, std::less<>> known_;
  std::vector<std::weak_ptr<const Set>> claims_;
};

/// Whether two configurations differ in no group's targets.
bool same_targets(const policy::Config& one, const policy::Config& other);

}  // namespace tlsplice::master
