#include "tlsplice/net/network.hpp"

namespace tlsplice::net {

bool Network::contains(const Address& address) const {
  const std::string_view ours = base_.ip_bytes();
  const std::string_view theirs = address.ip_bytes();
  if (ours.empty() || ours.size() != theirs.size()) return false;
  const std::size_t whole = prefix_ / 8;
  if (ours.substr(0, whole) != theirs.substr(0, whole)) return false;
  const unsigned rest = prefix_ % 8;
  if (rest == 0) return true;
  const auto differ = static_cast<unsigned>(static_cast<unsigned char>(ours[whole] ^ theirs[whole]));
  return differ >> (8 - rest) == 0;
}

}  // namespace tlsplice::net
