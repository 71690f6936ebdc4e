#include "loop.hpp"

#include "tlsplice/base/expect.hpp"

namespace tlsplice::monitor {

Loop make_loop() {
  event_set_log_callback([](int /*severity*/, const char* /*message*/) {});  // its messages are no log lines
  event_config* const config = event_config_new();
  if (config == nullptr) return nullptr;
  event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
  event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV);
  Loop loop(event_base_new_with_config(config));
  event_config_free(config);
  return loop;
}

Event::Event(event_base* loop, int descriptor, short what, Callback callback, void* self)
    : event_(event_new(loop, descriptor, what, callback, self)) {
  TLSPLICE_EXPECT(event_ != nullptr, "there is memory for an event");
}

void Event::add() {
  event_add(event_.get(), nullptr);
}

void Event::add(base::Milliseconds time) {
  const timeval wait{.tv_sec = time.count() / 1000, .tv_usec = time.count() % 1000 * 1000};
  event_add(event_.get(), &wait);
}

}  // namespace tlsplice::monitor
