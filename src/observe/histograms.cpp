#include "tlsplice/observe/histograms.hpp"

#include <algorithm>
#include <iterator>

#include "tlsplice/base/shared_rows.hpp"

namespace tlsplice::observe {
namespace {

#define TLSPLICE_BUCKET(name, upto_us) Bucket{upto_us, &tlsplice_histograms::name},
constexpr Bucket kHandshake[] = {TLSPLICE_HANDSHAKE_BUCKETS(TLSPLICE_BUCKET)};
constexpr Bucket kConnect[] = {TLSPLICE_CONNECT_BUCKETS(TLSPLICE_BUCKET)};
constexpr Bucket kFlow[] = {TLSPLICE_FLOW_BUCKETS(TLSPLICE_BUCKET)};
#undef TLSPLICE_BUCKET

constexpr bool ascend(std::span<const Bucket> buckets) {
  return std::ranges::is_sorted(buckets, std::ranges::less_equal{}, &Bucket::upto_us) &&
         buckets.back().upto_us == TLSPLICE_LONGER;
}
static_assert(ascend(kHandshake) && ascend(kConnect) && ascend(kFlow));

}  // namespace

Histogram histogram(Timing timing) {
  switch (timing) {
    case Timing::kHandshake:
      return {&tlsplice_histograms::handshake_us, kHandshake};
    case Timing::kConnect:
      return {&tlsplice_histograms::connect_us, kConnect};
    case Timing::kFlow:
      break;
  }
  return {&tlsplice_histograms::flow_us, kFlow};
}

void count(tlsplice_histograms& row, Timing timing, std::chrono::nanoseconds took) {
  const auto [sum_us, buckets] = histogram(timing);
  const auto ns = static_cast<__u64>(std::max(took, std::chrono::nanoseconds(0)).count());
  const __u64 us = (ns + 999) / 1000;  // up: more than a bound is not at most the bound
  const auto bucket = std::ranges::find_if(buckets, [us](const Bucket& b) { return us <= b.upto_us; });
  base::shared_add(row.*sum_us, us);
  base::shared_add(row.*(bucket->count));
}

}  // namespace tlsplice::observe
