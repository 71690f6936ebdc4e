#include "loop.hpp"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>

#include "tlsplice/base/expect.hpp"

namespace tlsplice::load {
namespace {

constexpr std::size_t kBufferSize = std::size_t{256} * 1024;
constexpr std::size_t kEventsMax = 512;

}  // namespace

Loop::Loop(base::Milliseconds stall)
    : epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      stall_(stall),
      now_(base::now()),
      next_stall_check_(now_ + kTurnMax),
      buffer_(kBufferSize) {
  TLSPLICE_EXPECT(epoll_, "epoll_create1 failed");
}

Loop::~Loop() {
  while (!flows_.empty()) retire(*flows_.begin()->first);
}

void Loop::watch(int fd, Watched& watched) {
  epoll_event event{.events = EPOLLIN, .data = {.ptr = &watched}};
  TLSPLICE_EXPECT(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl failed");
}

void Loop::forget(int fd) {
  (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);  // fails only if it was not watched
}

void Loop::begin(Connection connection, std::unique_ptr<Talk> talk, Owner& owner) {
  const int fd = connection.fd();
  auto flow = std::make_unique<Flow>(*this, std::move(connection), std::move(talk), owner);
  Flow* const named = flow.get();
  flows_.emplace(named, std::move(flow));
  // The first edge comes at once on a socket that is ready, otherwise when connect() has ended.
  epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                    .data = {.ptr = static_cast<Watched*>(named)}};
  TLSPLICE_EXPECT(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl failed");
}

void Loop::poke_resting(std::size_t most) {
  if (most == 0) return;
  std::vector<Flow*> resting;
  for (const auto& [flow, _] : flows_) {
    if (flow->talk_->resting() && !flow->linked()) resting.push_back(flow);
  }
  for (std::size_t left = std::min(most, resting.size()); left > 0; --left) {
    ready_.push_back(*resting[poked_++ % resting.size()]);
  }
}

void Loop::turn(base::Milliseconds most) {
  std::array<epoll_event, kEventsMax> events{};
  const int count = ::epoll_wait(epoll_.get(), events.data(), kEventsMax, wait_ms(most));
  TLSPLICE_EXPECT(count >= 0 || errno == EINTR, "epoll_wait failed");
  now_ = base::now();
  for (int each = 0; each < count; ++each) {
    static_cast<Watched*>(events[static_cast<std::size_t>(each)].data.ptr)->on_ready();
  }
  handle_ready();
  handle_timers();
  if (now_ >= next_stall_check_) fail_stalled();
  retired_.clear();
}

int Loop::wait_ms(base::Milliseconds most) const {
  if (!ready_.empty()) return 0;
  base::Milliseconds wait = most;
  if (!timers_.empty()) {
    const auto left = std::chrono::ceil<base::Milliseconds>(timers_.begin()->first - base::now());
    wait = std::clamp(left, base::Milliseconds(0), most);
  }
  return static_cast<int>(wait.count());
}

// Only what was ready when this began: what gets ready again has its turn after the sockets.
void Loop::handle_ready() {
  std::vector<Flow*> flows;
  while (!ready_.empty()) flows.push_back(&ready_.pop_front());
  for (Flow* const flow : flows) flow->on_ready();
}

void Loop::handle_timers() {
  while (!timers_.empty() && timers_.begin()->first <= now_) {
    Flow& flow = *timers_.begin()->second;
    flow.forget_timer();
    flow.on_ready();
  }
}

void Loop::fail_stalled() {
  next_stall_check_ = now_ + kTurnMax;
  std::vector<Flow*> stalled;
  for (const auto& [flow, _] : flows_) {
    const bool paused = flow->timer_ != timers_.end();
    if (now_ - flow->moved_at_ > stall_ && !paused && !flow->talk_->resting()) stalled.push_back(flow);
  }
  for (Flow* const flow : stalled) {
    flow->end(
        Turn::failed(flow->connection_.established() ? "stalled" : "stalled before it was established"));
  }
}

void Loop::retire(Flow& flow) {
  flow.unlink();
  flow.forget_timer();
  const auto found = flows_.find(&flow);
  if (found == flows_.end()) return;
  retired_.push_back(std::move(found->second));
  flows_.erase(found);
}

Flow::Flow(Loop& loop, Connection connection, std::unique_ptr<Talk> talk, Owner& owner)
    : loop_(loop),
      connection_(std::move(connection)),
      talk_(std::move(talk)),
      owner_(owner),
      moved_at_(loop.now()),
      timer_(loop.timers_.end()) {}

void Flow::on_ready() {
  if (ended_) return;
  const Turn turn = go_on();
  const std::uint64_t moved = connection_.sent() + connection_.received();
  if (moved != moved_before_ || talk_->resting()) moved_at_ = loop_.now();
  moved_before_ = moved;
  switch (turn.what) {
    case Turn::What::kWaiting:
      return;
    case Turn::What::kMore:
      if (!linked()) loop_.ready_.push_back(*this);
      return;
    case Turn::What::kPaused:
      wake_at(turn.until);
      return;
    case Turn::What::kDone:
    case Turn::What::kFailed:
      end(turn);
  }
}

Turn Flow::go_on() {
  if (!connection_.established()) {
    const Io io = connection_.establish();
    if (io == Io::kAgain) return {};
    if (io == Io::kEnd) return Turn::failed("ended during the handshake");
    if (io == Io::kReset) return Turn::failed("reset by the peer during the handshake");
    if (io == Io::kFailed) return Turn::failed(connection_.why());
    moved_at_ = loop_.now();
  }
  return talk_->go_on(connection_, {.now = loop_.now(), .buffer = loop_.buffer_});
}

// A failure is made known to the other side as a reset.
void Flow::end(const Turn& turn) {
  ended_ = true;
  if (turn.what == Turn::What::kFailed) connection_.reset();
  owner_.ended(*this, turn);
  loop_.retire(*this);
}

void Flow::wake_at(base::Instant when) {
  forget_timer();
  timer_ = loop_.timers_.emplace(when, this);
}

void Flow::forget_timer() {
  if (timer_ != loop_.timers_.end()) loop_.timers_.erase(timer_);
  timer_ = loop_.timers_.end();
}

}  // namespace tlsplice::load
