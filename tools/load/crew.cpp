#include "crew.hpp"

#include <fmt/format.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "tlsplice/net/socket.hpp"

namespace tlsplice::load {
namespace {

constexpr std::uint64_t kComplaintsMax = 20;

}  // namespace

void complain(std::uint64_t failed_so_far, const std::string& who, const std::string& why) {
  if (failed_so_far > kComplaintsMax) return;
  fmt::print(stderr, "tlsplice-load: {}: {}{}\n", who, why,
             failed_so_far == kComplaintsMax ? " (further ones are only counted)" : "");
}

Crew::Crew(Loop& loop, const Peer& peer, std::uint64_t flows, MakeTalk make_talk)
    : loop_(loop), peer_(peer), flows_(flows), make_talk_(std::move(make_talk)) {}

void Crew::fill(std::uint64_t at_once) {
  while (open_ < at_once && tally_.flows < flows_) open_one();
}

void Crew::open_one() {
  const std::uint64_t id = tally_.flows++;
  auto socket = net::stream_socket(peer_.address);
  if (!socket) return failed_to_open("socket", socket.error().errnum);
  const base::Instant opened = base::now();
  const int result = ::connect(socket->get(), peer_.address.data(), peer_.address.size());
  if (result != 0 && errno != EINPROGRESS) return failed_to_open("connect", errno);
  ++open_;
  loop_.begin(Connection(*std::move(socket), Connection::Role::kClient, peer_.tls.get()),
              make_talk_({.id = id, .at = opened, .latencies = tally_.latencies}), *this);
}

void Crew::failed_to_open(const std::string& doing, int errnum) {
  const std::string why = fmt::format("{}: {}", doing, std::strerror(errnum));
  complain(++tally_.failed, fmt::format("flow {}", tally_.flows), why);
  tally_.count_error(why);
}

void Crew::ended(Flow& flow, const Turn& end) {
  --open_;
  tally_.count(flow.connection(), flow.talk(), end);
  if (end.what == Turn::What::kFailed) {
    complain(tally_.failed, net::local_address(flow.connection().fd()).text(), end.why);
  }
}

const Tally& Crew::end(const std::string& why) {
  tally_.cut = open_;
  if (!finished() && !why.empty()) tally_.count_error(why);
  return tally_;
}

}  // namespace tlsplice::load
