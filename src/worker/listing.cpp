#include "listing.hpp"

#include <sys/socket.h>

#include <cerrno>
#include <span>
#include <vector>

#include "tlsplice/uring/ops.hpp"

namespace tlsplice::worker {
namespace {

using uring::Task;

constexpr std::size_t kRowsPerTurn = 64;
constexpr base::Milliseconds kReaderPatience{5000};

class Bookmark final : public session::LiveFlow {
 public:
  explicit Bookmark(session::LiveFlows& flows) : flows_(flows) { flows.push_front(*this); }
  bool describe(tlsplice_flow& /*row*/) const override { return false; }

  /// The rows from here on, none at the end.
  void next(std::vector<tlsplice_flow>& rows, std::size_t worker) {
    rows.clear();
    session::LiveFlow* last = nullptr;
    for (auto* flow = flows_.after(*this); flow != nullptr && rows.size() < kRowsPerTurn;
         flow = flows_.after(*flow)) {
      last = flow;
      tlsplice_flow row{};
      if (!flow->describe(row)) continue;
      row.worker = worker;
      rows.push_back(row);
    }
    if (last == nullptr) return;
    unlink();
    flows_.insert_after(*last, *this);
  }

 private:
  session::LiveFlows& flows_;
};

/// False when the reader is gone, or does not read.
Task<bool> write_all(uring::Ring& ring, uring::Stop& stop, int reader, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(reader, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(sent));
      continue;
    }
    if (errno != EAGAIN && errno != EINTR) co_return false;
    if (co_await uring::writable(ring, stop, reader) < 0) co_return false;
  }
  co_return true;
}

}  // namespace

Task<void> list_flows(uring::Ring& ring, uring::Stop& stop, session::LiveFlows& flows, base::Fd reader,
                      std::size_t worker) {
  uring::Stop stop_here(stop);
  uring::Deadline patience(ring, stop_here, kReaderPatience);
  Bookmark here(flows);
  std::vector<tlsplice_flow> rows;
  rows.reserve(kRowsPerTurn);
  for (bool more = true; more;) {
    here.next(rows, worker);
    more = !rows.empty();
    if (!more) rows.emplace_back();
    if (!co_await write_all(ring, stop_here, reader.get(), std::as_bytes(std::span(rows)))) co_return;
    patience.touch();
    co_await uring::Yield(ring);
  }
}

}  // namespace tlsplice::worker
