#include "entry.hpp"

#include <algorithm>

#include "tlsplice/resolver/report.hpp"

namespace tlsplice::resolver {

Entry::Entry(const std::vector<std::string>& known, const Times& times, base::Instant now)
    : times_(times), due_(now), addresses_(known) {
  for (const std::string& address : known) absent_since_.emplace(address, std::nullopt);
}

bool Entry::enter(const Found& found, base::Instant now) {
  forget_absent(found, now);
  // Those that are known stay, so that a flood changes nothing; of new ones there is room for some.
  std::vector<std::string> fresh;
  for (const std::string& address : found.addresses) {
    if (!absent_since_.contains(address)) fresh.push_back(address);
  }
  std::ranges::sort(fresh);
  fresh.erase(std::ranges::unique(fresh).begin(), fresh.end());
  const std::size_t room = kAddressesOfANameMax - std::min(kAddressesOfANameMax, absent_since_.size());
  left_out_ = fresh.size() - std::min(fresh.size(), room);
  fresh.resize(fresh.size() - left_out_);
  for (std::string& address : fresh) absent_since_.emplace(std::move(address), std::nullopt);

  addresses_.clear();
  due_ = now + (found.ttl ? std::clamp(*found.ttl, times_.ttl_min, times_.ttl_max) : times_.hosts);
  for (const auto& [address, since] : absent_since_) {
    addresses_.push_back(address);
    if (since) due_ = std::min(due_, std::max(*since + times_.absent, now + times_.ttl_min));
  }
  const bool recovered = retry_.has_value();
  retry_.reset();
  return recovered;
}

void Entry::forget_absent(const Found& found, base::Instant now) {
  for (auto& [address, since] : absent_since_) {
    if (std::ranges::find(found.addresses, address) != found.addresses.end()) {
      since.reset();
    } else if (!since) {
      since = now;
    }
  }
  std::erase_if(absent_since_,
                [&](const auto& entry) { return entry.second && *entry.second + times_.absent <= now; });
}

bool Entry::enter_failure(base::Instant now) {
  const bool fresh = !retry_;
  retry_ = fresh ? times_.first_retry : std::min(2 * *retry_, times_.longest_retry);
  due_ = now + *retry_;
  return fresh;
}

}  // namespace tlsplice::resolver
