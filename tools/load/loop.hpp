// The one thread: an epoll loop over flows and a few other descriptors, edge-triggered, with timers. It owns
// the flows. A flow that has moved nothing for a while, and whose talk does not rest, has stalled and fails.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "connection.hpp"
#include "talk.hpp"
#include "tlsplice/base/clock.hpp"
#include "tlsplice/base/fd.hpp"
#include "tlsplice/base/list.hpp"

namespace tlsplice::load {

/// Something whose descriptor the loop watches.
class Watched {
 public:
  Watched() = default;
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;
  virtual ~Watched() = default;
  virtual void on_ready() = 0;
};

class Flow;

/// Who began a flow hears of its end, once; the flow is gone soon after.
class Owner {
 public:
  Owner() = default;
  Owner(const Owner&) = delete;
  Owner& operator=(const Owner&) = delete;
  virtual ~Owner() = default;
  virtual void ended(Flow& flow, const Turn& end) = 0;
};

class Loop {
 public:
  /// `stall`: how long a flow may move nothing.
  explicit Loop(base::Milliseconds stall);
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  /// Level-triggered, readable. The watched one must outlive the loop's last turn, or be forgotten between
  /// two of them.
  void watch(int fd, Watched& watched);
  void forget(int fd);
  void begin(Connection connection, std::unique_ptr<Talk> talk, Owner& owner);
  /// Lets flows that rest look again at what is to be done: that many of them at most, in turn.
  void poke_resting(std::size_t most);

  static constexpr base::Milliseconds kTurnMax{1000};

  /// Waits until something is ready, for that long at most, and handles it.
  void turn(base::Milliseconds most = kTurnMax);
  std::size_t flows() const { return flows_.size(); }
  base::Instant now() const { return now_; }

 private:
  friend class Flow;
  using Timers = std::multimap<base::Instant, Flow*>;

  int wait_ms(base::Milliseconds most) const;
  void handle_timers();
  void handle_ready();
  void fail_stalled();
  void retire(Flow& flow);

  base::Fd epoll_;
  base::Milliseconds stall_;
  base::Instant now_;
  base::Instant next_stall_check_;
  std::vector<std::byte> buffer_;
  std::unordered_map<Flow*, std::unique_ptr<Flow>> flows_;
  std::vector<std::unique_ptr<Flow>> retired_;  // events of this turn may still name them
  base::List<Flow> ready_;
  std::size_t poked_ = 0;
  Timers timers_;
};

class Flow : public Watched, public base::ListNode<Flow> {
 public:
  Flow(Loop& loop, Connection connection, std::unique_ptr<Talk> talk, Owner& owner);

  void on_ready() override;
  const Connection& connection() const { return connection_; }
  const Talk& talk() const { return *talk_; }

 private:
  friend class Loop;
  Turn go_on();
  void end(const Turn& turn);
  void wake_at(base::Instant when);
  void forget_timer();

  Loop& loop_;
  Connection connection_;
  std::unique_ptr<Talk> talk_;
  Owner& owner_;
  std::uint64_t moved_before_ = 0;
  base::Instant moved_at_;
  Loop::Timers::iterator timer_;
  bool ended_ = false;
};

}  // namespace tlsplice::load
