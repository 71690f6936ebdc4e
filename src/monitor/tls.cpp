// What became of TLS: the maps `negotiated` and `ktls`, and what the map `counters` has of it.
#include <map>
#include <string>
#include <tuple>

#include "families.hpp"

namespace tlsplice::monitor {
namespace {

using C = tlsplice_counters;
using K = tlsplice_ktls;

constexpr Whole<C> kTotals[] = {
    {{"tlsplice_client_tls_handshake_count_total", Type::kCounter,
      "Handshakes with clients that were completed."},
     &C::ClientTLSHandshakeCount},
    {{"tlsplice_key_update_received_count_total", Type::kCounter,
      "TLS 1.3 KeyUpdates from peers, of connections in the kernel."},
     &C::KeyUpdateReceivedCount},
    {{"tlsplice_key_update_sent_count_total", Type::kCounter,
      "TLS 1.3 KeyUpdates of ours, of connections in the kernel."},
     &C::KeyUpdateSentCount},
    {{"tlsplice_key_limit_error_count_total", Type::kCounter,
      "Flows ended because their key may protect no more records and cannot be changed."},
     &C::KeyLimitErrorCount}};

constexpr Family kNegotiated{"tlsplice_negotiated_count_total", Type::kCounter,
                             "Completed handshakes, by what was negotiated."};
constexpr Family kConnections{
    "tlsplice_tls_connection_count_total", Type::kCounter,
    "TLS connections: in the kernel, or why not, in the words of the flow's record."};
#define TLSPLICE_KTLS_PART(name) Part<K>{#name, &K::name},
constexpr Part<K> kWhere[] = {TLSPLICE_KTLS_COUNTERS(TLSPLICE_KTLS_PART)};
#undef TLSPLICE_KTLS_PART

/// A worker takes rows in the order in which it meets what they are for, so equals are found by name.
void show_negotiated(Exposition& out, std::span<const tlsplice_negotiated> rows) {
  using Names = std::tuple<std::string, std::string, std::string, std::string>;
  std::map<Names, std::uint64_t> totals;
  for (const tlsplice_negotiated& row : rows) {
    if (row.side[0] == '\0') continue;
    Names names(text(row.side), text(row.protocol), text(row.cipher), text(row.group));
    totals[std::move(names)] += base::shared_get(row.NegotiatedCount);
  }
  out.begin(kNegotiated);
  for (const auto& [names, count] : totals) {
    const auto& [side, protocol, cipher, group] = names;
    out.sample({{"side", side}, {"protocol", protocol}, {"cipher", cipher}, {"group", group}}, count);
  }
}

/// Each worker has one row for each side and direction, in the same order.
void show_ktls(Exposition& out, const observe::CounterTable& counters) {
  const auto rows = counters.ktls_rows();
  out.begin(kConnections);
  for (std::size_t way = 0; way < TLSPLICE_KTLS_ROWS; ++way) {
    for (const Part<K>& part : kWhere) {
      std::uint64_t total = 0;
      for (std::size_t row = way; row < rows.size(); row += TLSPLICE_KTLS_ROWS)
        total += base::shared_get(rows[row].*part.field);
      out.sample(
          {{"side", text(rows[way].side)}, {"direction", text(rows[way].direction)}, {"ktls", part.word}},
          total);
    }
  }
}

}  // namespace

void show_tls(Exposition& out, const observe::CounterTable& counters) {
  for (const Whole<C>& whole : kTotals) {
    out.begin(whole.family);
    out.sample({}, sum(counters.counter_rows(), whole.field));
  }
  show_negotiated(out, counters.negotiated_rows());
  show_ktls(out, counters);
}

}  // namespace tlsplice::monitor
