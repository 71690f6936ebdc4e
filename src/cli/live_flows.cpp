#include "live_flows.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "tlsplice/admin/client.hpp"
#include "tlsplice/base/clock.hpp"

namespace tlsplice::cli {
namespace {

constexpr int kSilenceMax = 2000;  // milliseconds

/// What one worker tells: rows, and a row of zeros behind the last.
struct Teller {
  std::string who;
  base::Fd stream;
  std::string bytes;  // of a row that has not come whole
  bool done = false;
};

/// False when the stream has ended.
bool hear(Teller& teller, std::vector<tlsplice_flow>& flows) {
  char chunk[128 * sizeof(tlsplice_flow)];
  const ssize_t got = ::recv(teller.stream.get(), chunk, sizeof chunk, MSG_DONTWAIT);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  if (got == 0) return false;
  teller.bytes.append(chunk, static_cast<std::size_t>(got));
  std::size_t begin = 0;
  for (; teller.bytes.size() - begin >= sizeof(tlsplice_flow); begin += sizeof(tlsplice_flow)) {
    tlsplice_flow row;
    std::memcpy(&row, teller.bytes.data() + begin, sizeof row);
    if (row.listener[0] == '\0') {
      teller.done = true;
      return false;
    }
    flows.push_back(row);
  }
  teller.bytes.erase(0, begin);
  return true;
}

base::Result<std::vector<Teller>> ask_workers(const std::string& admin_socket) {
  auto answer = admin::ask(admin_socket, "flows");
  if (!answer) return base::fail(std::move(answer.error()));
  const auto workers =
      nlohmann::json::parse(answer->json, nullptr, false).value("workers", nlohmann::json::array());
  if (workers.size() != answer->descriptors.size()) {
    return base::fail({base::Fault::kProtocol, 0,
                       fmt::format("{} gave {} streams for {} workers", admin_socket,
                                   answer->descriptors.size(), workers.size())});
  }
  std::vector<Teller> tellers(workers.size());
  for (std::size_t i = 0; i < tellers.size(); ++i) {
    tellers[i].who =
        fmt::format("worker {} (pid {})", workers[i].value("worker", 0), workers[i].value("pid", 0));
    tellers[i].stream = std::move(answer->descriptors[i]);
  }
  return tellers;
}

}  // namespace

base::Result<LiveFlows> live_flows(const std::string& admin_socket) {
  auto tellers = ask_workers(admin_socket);
  if (!tellers) return base::fail(std::move(tellers.error()));
  LiveFlows told;
  for (;;) {
    std::vector<pollfd> watched;
    for (const Teller& teller : *tellers)
      watched.push_back({.fd = teller.stream.get(), .events = POLLIN, .revents = 0});  // -1 is passed over
    if (std::ranges::none_of(*tellers, [](const Teller& teller) { return bool(teller.stream); })) break;
    const int up = ::poll(watched.data(), watched.size(), kSilenceMax);
    if (up < 0 && errno == EINTR) continue;
    if (up <= 0) break;
    for (std::size_t i = 0; i < watched.size(); ++i) {
      if (watched[i].revents != 0 && !hear((*tellers)[i], told.flows)) (*tellers)[i].stream.reset();
    }
  }
  for (const Teller& teller : *tellers) {
    if (!teller.done) told.missing.push_back(teller.who);
  }
  return told;
}

}  // namespace tlsplice::cli
