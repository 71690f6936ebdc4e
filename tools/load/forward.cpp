// The verb forward: a plain TCP forwarder that does nothing else, as cheap as we know to make one: copies
// what fits into one read, splices what does not. What any proxy spends on moving bytes: a floor of
// tools/bench.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <unordered_map>
#include <vector>

#include "run.hpp"
#include "tlsplice/net/socket.hpp"
#include "verbs.hpp"

namespace tlsplice::load {
namespace {

constexpr std::size_t kCopyBytes = 16 * 1024;
constexpr std::size_t kPipeBytes = 256 * 1024;
constexpr unsigned kSpliceFlags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK;

struct Half {
  int from = -1;
  int to = -1;
  std::vector<std::byte> left;   // copied, and not taken yet
  std::array<base::Fd, 2> pipe;  // read end, write end; none until there is bulk
  std::size_t held = 0;          // bytes in the pipe
  bool ended = false;

  /// Moves what can be moved now. `ending`: a side may have sent its FIN behind its bytes; only then is it
  /// looked for behind a short read. False when a side is gone.
  bool move(bool ending);
  bool copy_all(bool ending);
  bool splice_all();
};

struct Pair {
  base::Fd client;
  base::Fd target;
  Half up;
  Half down;
};

bool again(ssize_t result) {
  return result < 0 && (errno == EAGAIN || errno == EINTR);
}

bool Half::move(bool ending) {
  while (!left.empty()) {
    const ssize_t n = ::send(to, left.data(), left.size(), MSG_NOSIGNAL);
    if (n < 0) return again(n);
    left.erase(left.begin(), left.begin() + n);
  }
  return pipe[0] ? splice_all() : copy_all(ending);
}

bool Half::copy_all(bool ending) {
  std::array<std::byte, kCopyBytes> buffer;
  while (!ended) {
    const ssize_t got = ::recv(from, buffer.data(), buffer.size(), 0);
    if (got < 0) return again(got);
    if (got == 0) {
      ended = true;
      return ::shutdown(to, SHUT_WR) == 0;
    }
    const ssize_t put = ::send(to, buffer.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL);
    if (put < 0 && !again(put)) return false;
    if (put < got) {
      left.assign(buffer.begin() + std::max<ssize_t>(put, 0), buffer.begin() + got);
      return true;
    }
    if (got < static_cast<ssize_t>(buffer.size()) && ending) continue;
    if (got < static_cast<ssize_t>(buffer.size())) return true;
    int ends[2] = {-1, -1};
    if (::pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return false;
    pipe = {base::Fd(ends[0]), base::Fd(ends[1])};
    (void)::fcntl(ends[1], F_SETPIPE_SZ, kPipeBytes);
    return splice_all();
  }
  return true;
}

bool Half::splice_all() {
  while (!ended || held > 0) {
    if (held == 0) {
      const ssize_t n = ::splice(from, nullptr, pipe[1].get(), nullptr, kPipeBytes, kSpliceFlags);
      if (again(n)) return true;
      if (n < 0) return false;
      if (n == 0) {
        ended = true;
        return ::shutdown(to, SHUT_WR) == 0;
      }
      held = static_cast<std::size_t>(n);
    }
    const ssize_t n = ::splice(pipe[0].get(), nullptr, to, nullptr, held, kSpliceFlags);
    if (again(n)) return true;
    if (n < 0) return false;
    held -= static_cast<std::size_t>(n);
  }
  return true;
}

class Forwarder {
 public:
  Forwarder(base::Fd listener, net::Address target)
      : listener_(std::move(listener)), target_(target), epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
    watch(listener_.get(), EPOLLIN, nullptr);
  }

  void turn() {
    std::array<epoll_event, 64> events;
    const int ready = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
    for (int i = 0; i < ready; ++i) {
      const epoll_event& event = events[static_cast<std::size_t>(i)];
      auto* const pair = static_cast<Pair*>(event.data.ptr);
      const bool ending = (event.events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
      if (pair == nullptr) {
        take();
      } else if (pair->client && !move(*pair, ending)) {
        pair->client.reset();  // closed for good; other events of this turn may still name the pair
        pair->target.reset();
        gone_.push_back(pair);
      }
    }
    for (Pair* const pair : gone_) pairs_.erase(pair);
    gone_.clear();
  }

 private:
  /// False when it has ended.
  static bool move(Pair& pair, bool ending) {
    return pair.up.move(ending) && pair.down.move(ending) && !(pair.up.ended && pair.down.ended);
  }

  void watch(int fd, std::uint32_t events, Pair* pair) const {
    epoll_event event{.events = events, .data = {.ptr = pair}};
    (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  }

  void take() {
    auto accepted = net::accept(listener_.get());
    auto target = net::stream_socket(target_);
    if (!accepted || !target) return;
    if (::connect(target->get(), target_.data(), target_.size()) != 0 && errno != EINPROGRESS) return;
    net::set_no_delay(accepted->socket.get());
    net::set_no_delay(target->get());
    auto pair = std::make_unique<Pair>();
    pair->client = std::move(accepted->socket);
    pair->target = *std::move(target);
    pair->up.from = pair->down.to = pair->client.get();
    pair->down.from = pair->up.to = pair->target.get();
    watch(pair->client.get(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, pair.get());
    watch(pair->target.get(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, pair.get());
    Pair* const key = pair.get();
    pairs_.emplace(key, std::move(pair));
  }

  base::Fd listener_;
  net::Address target_;
  base::Fd epoll_;
  std::unordered_map<Pair*, std::unique_ptr<Pair>> pairs_;
  std::vector<Pair*> gone_;
};

}  // namespace

int forward(const ForwardOptions& options) {
  prepare_process();
  const auto at = parse_address(options.listen);
  if (!at) return cannot(at.error());
  const auto target = parse_address(options.to);
  if (!target) return cannot(target.error());
  auto listener = net::listen_alone(*at);
  if (!listener) return cannot(listener.error());
  fmt::print("listening on {}\n", net::local_address(listener->get()).text());
  (void)std::fflush(stdout);
  Forwarder forwarder(*std::move(listener), *target);
  for (;;) forwarder.turn();  // until a signal ends it
}

}  // namespace tlsplice::load
