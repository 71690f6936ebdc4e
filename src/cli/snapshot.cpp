#include "snapshot.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "tlsplice/admin/client.hpp"

namespace tlsplice::cli {
namespace {

/// Takes rows off the front of what was sent.
template <typename Row>
std::vector<Row> take_rows(const char*& place, std::size_t count) {
  std::vector<Row> rows(count);
  std::memcpy(rows.data(), place, count * sizeof(Row));
  place += count * sizeof(Row);
  return rows;
}

void add(tlsplice_listener& sum, const tlsplice_listener& row) {
#define TLSPLICE_ADD(name) sum.name += row.name;
  TLSPLICE_LISTENER_COUNTERS(TLSPLICE_ADD)
}
void add(tlsplice_target& sum, const tlsplice_target& row) {
  TLSPLICE_TARGET_COUNTERS(TLSPLICE_ADD)
}
void add(tlsplice_counters& sum, const tlsplice_counters& row) {
  TLSPLICE_COUNTERS(TLSPLICE_ADD)
#undef TLSPLICE_ADD
}

/// One row for each `stride` that stand side by side.
template <typename Row>
std::vector<Row> summed(const std::vector<Row>& rows, std::size_t stride) {
  std::vector<Row> sums;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (i % stride == 0) {
      sums.push_back(rows[i]);
    } else {
      add(sums.back(), rows[i]);
    }
  }
  return sums;
}

/// The memory behind a descriptor, for reading; empty when it is not `size` bytes.
base::Result<std::vector<char>> read_whole(const base::Fd& memory, std::size_t size) {
  struct stat status{};
  if (::fstat(memory.get(), &status) != 0)
    return base::fail(base::Error::system("look at the numbers", errno));
  if (static_cast<std::size_t>(status.st_size) != size)
    return base::fail({base::Fault::kProtocol, 0, "the service is of another version than this program"});
  std::vector<char> bytes(size);
  if (::pread(memory.get(), bytes.data(), size, 0) != static_cast<ssize_t>(size))
    return base::fail(base::Error::system("read the numbers", errno));
  return bytes;
}

}  // namespace

base::Result<Snapshot> take_snapshot(const std::string& admin_socket) {
  auto answer = admin::ask(admin_socket, "numbers");
  if (!answer) return base::fail(std::move(answer.error()));
  const auto told = nlohmann::json::parse(answer->json, nullptr, false);
  const std::size_t workers = told.value("workers", std::size_t{0});
  const std::size_t stride = told.value("stride", std::size_t{0});
  const std::size_t listeners = told.value("listeners", std::size_t{0}) * stride;
  const std::size_t targets = told.value("targets", std::size_t{0}) * stride;
  if (workers == 0 || stride == 0 || answer->descriptors.size() != 1)
    return base::fail({base::Fault::kProtocol, 0, fmt::format("{} has no numbers", admin_socket)});
  const auto bytes =
      read_whole(answer->descriptors.front(),
                 workers * sizeof(tlsplice_worker_load) + stride * sizeof(tlsplice_counters) +
                     listeners * sizeof(tlsplice_listener) + targets * sizeof(tlsplice_target));
  if (!bytes) return base::fail(bytes.error());
  const char* place = bytes->data();
  Snapshot snapshot;
  snapshot.at = base::now();
  snapshot.workers = take_rows<tlsplice_worker_load>(place, workers);
  snapshot.counters = summed(take_rows<tlsplice_counters>(place, stride), stride).front();
  snapshot.listeners = summed(take_rows<tlsplice_listener>(place, listeners), stride);
  snapshot.targets = summed(take_rows<tlsplice_target>(place, targets), stride);
  return snapshot;
}

}  // namespace tlsplice::cli
