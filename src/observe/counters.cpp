#include "tlsplice/observe/counters.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <utility>

#include "tlsplice/base/expect.hpp"

namespace tlsplice::observe {

base::Result<CounterTable> CounterTable::create(std::size_t workers) {
  void* memory =
      ::mmap(nullptr, workers * sizeof(Slot), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return base::fail(base::Error::system("map the counters", errno));
  return CounterTable(static_cast<Slot*>(memory), workers);  // fresh pages are zero
}

CounterTable::CounterTable(CounterTable&& other) noexcept
    : slots_(std::exchange(other.slots_, nullptr)), workers_(std::exchange(other.workers_, 0)) {}

CounterTable::~CounterTable() {
  if (slots_ != nullptr) ::munmap(slots_, workers_ * sizeof(Slot));
}

Counters CounterTable::worker(std::size_t index) const {
  TLSPLICE_EXPECT(index < workers_, "no such worker");
  return Counters(slots_[index].counters);
}

__u64 CounterTable::sum(Counter counter) const {
  __u64 total = 0;
  for (std::size_t i = 0; i < workers_; ++i) total += worker(i).get(counter);
  return total;
}

void CounterTable::write(base::Log& log) const {
#define TLSPLICE_COUNTER_FIELD(name) {#name, sum(&tlsplice_counters::name)},
  log.info("counters", {TLSPLICE_COUNTERS(TLSPLICE_COUNTER_FIELD)});
#undef TLSPLICE_COUNTER_FIELD
}

}  // namespace tlsplice::observe
