#include "answers.hpp"

#include "tlsplice/master/client_ip.hpp"

namespace tlsplice::master {

using base::Error;
using base::Result;

Result<void> Answers::bring_home(const policy::Config& next) {
  if (std::string missing = missing_for_client_ip(next); !missing.empty())
    return base::fail(Error::invalid("preserve_client_ip: " + std::move(missing)));
  const auto targets = targets_that_see_clients(next);
  auto wanted = targets_now();
  wanted.insert(wanted.end(), targets.begin(), targets.end());
  if (targets.empty()) {
    follow(wanted);
    return {};
  }
  if (auto followed = delivery_.follow(wanted); !followed) {
    forget();
    followed.error().detail = "preserve_client_ip: " + followed.error().detail;
    return followed;
  }
  log_.info("preserving_client_ip", {{"targets", targets.size()}, {"table", delivery_.table()}});
  return {};
}

void Answers::forget() {
  follow(targets_now());
}

void Answers::end() {
  follow({});
}

void Answers::follow(const std::vector<net::Address>& targets) {
  if (auto followed = delivery_.follow(targets); !followed)
    log_.warning("rules_left", {{"error", followed.error().text()}, {"remedy", "ip rule; ip -6 rule"}});
}

/// Of every generation that has flows, or may have.
std::vector<net::Address> Answers::targets_now() const {
  std::vector<net::Address> all;
  generations_.each_config([&all](const policy::Config& config) {
    const auto targets = targets_that_see_clients(config);
    all.insert(all.end(), targets.begin(), targets.end());
  });
  return all;
}

}  // namespace tlsplice::master
