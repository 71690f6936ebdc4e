// From whom a listener accepts the PROXY protocol's header. Whoever may send one may claim to be anybody, so
// there is no "from everyone" short of writing 0.0.0.0/0.
#include <fmt/format.h>

#include <algorithm>

#include "sections.hpp"
#include "tlsplice/policy/host_port.hpp"

namespace tlsplice::policy {
namespace {

constexpr const char* kTrustExample = R"({ accept_from = ["10.0.0.0/8", "2001:db8::/32"] })";
constexpr const char* kNetworksExample = R"(["10.0.0.0/8", "2001:db8::/32"])";
// Each new connection is compared with all of them.
constexpr std::size_t kNetworksMax = 64;

}  // namespace

std::vector<Network> read_accept_from(TableReader& listener) {
  std::vector<Network> networks;
  auto table = listener.table("proxy_protocol", kTrustExample);
  if (!table) return networks;
  table->require("accept_from", kNetworksExample);
  for (const Text& text : table->texts("accept_from", kNetworksExample)) {
    auto network = parse_network(text.value);
    if (!network) {
      table->wrong_at(text.place, "accept_from", std::move(network.error()));
    } else if (std::ranges::find(networks, *network) != networks.end()) {
      table->wrong_at(text.place, "accept_from",
                      fmt::format("\"{}\" is in the list already, expected each once", to_string(*network)));
    } else {
      networks.push_back(*std::move(network));
    }
  }
  if (networks.size() > kNetworksMax) {
    table->wrong("accept_from",
                 fmt::format("{} networks, expected at most {}", networks.size(), kNetworksMax));
  }
  table->finish();
  return networks;
}

}  // namespace tlsplice::policy
