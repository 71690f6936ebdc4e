#include "tlsplice/observe/counters.hpp"

#include <algorithm>
#include <cstring>

#include "tlsplice/base/expect.hpp"
#include "tlsplice/wire/steering.h"

namespace tlsplice::observe {
namespace {

constexpr std::size_t kWays = TLSPLICE_KTLS_ROWS / 2;  // of a side

template <std::size_t N>
bool holds(const char (&field)[N], const char* text) {
  return std::strncmp(field, text, N - 1) == 0;
}

struct KtlsWord {
  std::string_view word;
  __u64 tlsplice_ktls::* field;
};
#define TLSPLICE_KTLS_WORD(name) {#name, &tlsplice_ktls::name},
constexpr KtlsWord kKtlsWords[] = {TLSPLICE_KTLS_COUNTERS(TLSPLICE_KTLS_WORD)};
#undef TLSPLICE_KTLS_WORD

template <typename Row>
base::Result<void> make(base::SharedRows<Row>& rows, std::size_t count, int fd) {
  auto made = base::SharedRows<Row>::create(count, fd);
  if (!made) return base::fail(std::move(made.error()));
  rows = std::move(*made);
  return {};
}

}  // namespace

// ---- Counters

void Counters::add(const Negotiated& negotiated) {
  if constexpr (!kCounting) return;
  tlsplice_negotiated* const last = rows_.negotiated + TLSPLICE_NEGOTIATED_ROWS - 1;
  tlsplice_negotiated* row = rows_.negotiated;
  while (row != last && row->side[0] != '\0' &&
         !(holds(row->side, negotiated.side) && holds(row->cipher, negotiated.cipher) &&
           holds(row->group, negotiated.group) && holds(row->protocol, negotiated.protocol))) {
    ++row;
  }
  if (row->side[0] == '\0') {
    static constexpr Negotiated kOther{"other", "other", "other", "other"};
    const Negotiated& names = row == last ? kOther : negotiated;
    base::enter_text(row->protocol, names.protocol);
    base::enter_text(row->cipher, names.cipher);
    base::enter_text(row->group, names.group);
    base::enter_text(row->side, names.side);
  }
  base::shared_add(row->NegotiatedCount);
}

void Counters::add_ktls(bool client, std::string_view where) {
  if constexpr (!kCounting) return;
  const auto* const known = std::ranges::find(kKtlsWords, where, &KtlsWord::word);
  if (known == std::end(kKtlsWords)) return;
  for (std::size_t way = 0; way < kWays; ++way) {
    base::shared_add(rows_.ktls[(client ? 0 : kWays) + way].*known->field);
  }
}

// ---- CounterTable

std::uint64_t layout() {
  std::uint64_t hash = 0xcbf29ce484222325ULL;  // FNV-1a
  const auto mix = [&hash](std::string_view text) {
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  };
#define TLSPLICE_MIX(name, ...) mix(#name);
  TLSPLICE_COUNTERS(TLSPLICE_MIX)
  TLSPLICE_LISTENER_COUNTERS(TLSPLICE_MIX)
  TLSPLICE_TARGET_COUNTERS(TLSPLICE_MIX)
  TLSPLICE_KTLS_COUNTERS(TLSPLICE_MIX)
  TLSPLICE_HANDSHAKE_BUCKETS(TLSPLICE_MIX)
  TLSPLICE_CONNECT_BUCKETS(TLSPLICE_MIX)
  TLSPLICE_FLOW_BUCKETS(TLSPLICE_MIX)
#undef TLSPLICE_MIX
  for (const std::size_t size : {sizeof(tlsplice_counters), sizeof(tlsplice_listener),
                                 sizeof(tlsplice_target), sizeof(tlsplice_negotiated), sizeof(tlsplice_ktls),
                                 sizeof(tlsplice_histograms), sizeof(tlsplice_worker_load)}) {
    mix(std::to_string(size) + ",");
  }
  return hash;
}

base::Result<CounterTable> CounterTable::create(const Shape& shape, const Backing& backing) {
  if (shape.workers == 0) return base::fail(base::Error::invalid("no worker, nothing to count"));
  CounterTable table;
  const std::size_t stride = shape.workers + 1;  // and the past
  // A map has one row at least, also where there is nothing.
  const std::size_t listeners = std::max<std::size_t>(1, shape.listeners.size());
  const std::size_t targets = std::max<std::size_t>(1, shape.targets.size());
  for (const auto& made : {make(table.counters_, stride, backing.counters),
                           make(table.listeners_, listeners * stride, backing.listeners),
                           make(table.targets_, targets * stride, backing.targets),
                           make(table.negotiated_, TLSPLICE_NEGOTIATED_ROWS * stride, backing.negotiated),
                           make(table.ktls_, TLSPLICE_KTLS_ROWS * stride, backing.ktls),
                           make(table.histograms_, listeners * stride, backing.histograms)}) {
    if (!made) return base::fail(made.error());
  }
  table.enter_names(shape);
  return table;
}

void CounterTable::enter_names(const Shape& shape) const {
  for (std::size_t worker = 0; worker < stride(); ++worker) {
    for (std::size_t i = 0; i < shape.listeners.size(); ++i) {
      tlsplice_listener& row = listeners_[i * stride() + worker];
      tlsplice_histograms& times = histograms_[i * stride() + worker];
      base::enter_text(row.listener, shape.listeners[i].name);
      base::enter_text(row.protocol, shape.listeners[i].protocol);
      base::enter_text(times.listener, shape.listeners[i].name);
      base::enter_text(times.protocol, shape.listeners[i].protocol);
      row.worker = times.worker = worker;
    }
    for (std::size_t i = 0; i < shape.targets.size(); ++i) {
      tlsplice_target& row = targets_[i * stride() + worker];
      base::enter_text(row.target_group, shape.targets[i].group);
      base::enter_text(row.target, shape.targets[i].address);
      row.worker = worker;
    }
    for (std::size_t i = 0; i < TLSPLICE_KTLS_ROWS; ++i) {
      tlsplice_ktls& row = ktls_[worker * TLSPLICE_KTLS_ROWS + i];
      base::enter_text(row.side, i < kWays ? "client" : "target");
      base::enter_text(row.direction, i % kWays == 0 ? "receive" : "send");
      row.worker = worker;
    }
    for (std::size_t i = 0; i < TLSPLICE_NEGOTIATED_ROWS; ++i) {
      negotiated_[worker * TLSPLICE_NEGOTIATED_ROWS + i].worker = worker;
    }
  }
}

Counters CounterTable::worker(std::size_t index) const {
  TLSPLICE_EXPECT(index < workers(), "no such worker");
  return {first_rows(index), stride()};
}

FirstRows CounterTable::first_rows(std::size_t index) const {
  return {.counters = &counters_[index],
          .listeners = &listeners_[index],
          .targets = &targets_[index],
          .negotiated = &negotiated_[index * TLSPLICE_NEGOTIATED_ROWS],
          .ktls = &ktls_[index * TLSPLICE_KTLS_ROWS],
          .histograms = &histograms_[index]};
}

Shape CounterTable::shape() const {
  Shape shape{.workers = workers(), .listeners = {}, .targets = {}};
  for (std::size_t i = 0; i < listeners_.count(); i += stride())
    shape.listeners.push_back({listeners_[i].listener, listeners_[i].protocol});
  for (std::size_t i = 0; i < targets_.count(); i += stride())
    shape.targets.push_back({targets_[i].target_group, targets_[i].target});
  return shape;
}

Backing CounterTable::backing() const {
  return {.counters = counters_.descriptor(),
          .listeners = listeners_.descriptor(),
          .targets = targets_.descriptor(),
          .negotiated = negotiated_.descriptor(),
          .ktls = ktls_.descriptor(),
          .histograms = histograms_.descriptor()};
}

void CounterTable::forget_backing() {
  counters_.forget_descriptor();
  listeners_.forget_descriptor();
  targets_.forget_descriptor();
  negotiated_.forget_descriptor();
  ktls_.forget_descriptor();
  histograms_.forget_descriptor();
}

void CounterTable::bury(std::size_t worker) const {
  tlsplice_counters& slot = counters_[worker];
  for (__u64* active : {&slot.ActiveFlowCount, &slot.ActiveFlowCount_TLS, &slot.ActiveFlowCount_TCP}) {
    base::shared_set(*active, 0);
  }
  for (std::size_t row = worker; row < listeners_.count(); row += stride()) {
    base::shared_set(listeners_[row].ActiveFlowCount, 0);
  }
  for (std::size_t row = worker; row < targets_.count(); row += stride()) {
    base::shared_set(targets_[row].ActiveFlowCount, 0);
  }
}

__u64 CounterTable::sum(Counter counter) const {
  __u64 total = 0;
  for (std::size_t i = 0; i < stride(); ++i) total += base::shared_get(counters_[i].*counter);
  return total;
}

__u64 CounterTable::sum(std::size_t listener, ListenerCounter counter) const {
  __u64 total = 0;
  for (std::size_t i = 0; i < stride(); ++i) {
    total += base::shared_get(listeners_[listener * stride() + i].*counter);
  }
  return total;
}

__u64 CounterTable::sum(std::size_t target, TargetCounter counter) const {
  __u64 total = 0;
  for (std::size_t i = 0; i < stride(); ++i) {
    total += base::shared_get(targets_[target * stride() + i].*counter);
  }
  return total;
}

void CounterTable::write(base::Log& log) const {
#define TLSPLICE_COUNTER_FIELD(name) {#name, sum(&tlsplice_counters::name)},
  log.info("counters", {TLSPLICE_COUNTERS(TLSPLICE_COUNTER_FIELD)});
#undef TLSPLICE_COUNTER_FIELD
}

}  // namespace tlsplice::observe
