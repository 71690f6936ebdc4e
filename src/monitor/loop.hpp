// libevent's loop and its events, owned. Everything in the monitor process hangs on one loop; nothing in it
// waits. Callbacks get the `self` that the event was made with.
#pragma once

#include <event2/event.h>

#include <memory>

#include "tlsplice/base/clock.hpp"

namespace tlsplice::monitor {

struct FreeLoop {
  void operator()(event_base* loop) const { event_base_free(loop); }
};
using Loop = std::unique_ptr<event_base, FreeLoop>;

/// Null when the kernel has nothing for it. Says nothing on stderr.
Loop make_loop();

/// An event of a descriptor or, with -1, a timer: starts no sooner than add() says. Gone with its owner, also
/// from within its own callback.
class Event {
 public:
  using Callback = void (*)(evutil_socket_t, short, void* self);

  Event(event_base* loop, int descriptor, short what, Callback callback, void* self);
  /// Waits for the descriptor, for ever.
  void add();
  /// Waits so long.
  void add(base::Milliseconds time);
  void remove() { event_del(event_.get()); }

 private:
  struct Free {
    void operator()(event* made) const { event_free(made); }
  };
  std::unique_ptr<event, Free> event_;
};

}  // namespace tlsplice::monitor
