// tlsplice top: the numbers of a running service, live, in a terminal or as lines. A service that goes away
// meanwhile is waited for: whoever looks is likely to be the one who restarts it.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <thread>

#include "screen.hpp"
#include "snapshot.hpp"
#include "top_view.hpp"
#include "verbs.hpp"

namespace tlsplice::cli {
namespace {

using base::Instant;
using base::Milliseconds;

constexpr const char* kHelp = "q quit   p pause   arrows, page up and down: scroll";
constexpr const char* kPausedHelp = "q quit   p go on   PAUSED";

int batch(const std::string& admin_socket, Snapshot before, Milliseconds interval, std::uint32_t count) {
  for (std::uint32_t i = 0; count == 0 || i < count; ++i) {
    std::this_thread::sleep_for(interval);
    auto now = take_snapshot(admin_socket);
    if (!now) {
      fmt::print(stderr, "tlsplice top: {}\n", now.error().text());
      return kExitFailed;
    }
    const View view = view_of(before, *now);
    fmt::print("{}\n", view.summary);
    for (const std::string& line : view.lines) fmt::print("{}\n", line);
    fmt::print("\n");
    if (std::fflush(stdout) != 0) return kExitFailed;  // nobody reads any more
    before = std::move(*now);
  }
  return kExitDone;
}

int live(Screen& screen, const std::string& admin_socket, Snapshot before, Milliseconds interval) {
  View view = view_of(before, before);
  bool paused = false;
  Instant due = base::now() + interval;
  for (;;) {
    screen.draw(view.summary, view.lines, paused ? kPausedHelp : kHelp);
    const auto left = std::chrono::ceil<Milliseconds>(due - base::now());
    switch (screen.wait(std::max(left, Milliseconds(0)))) {
      case Screen::Key::kQuit:
        return kExitDone;
      case Screen::Key::kPause:
        paused = !paused;
        continue;
      case Screen::Key::kRedraw:
        continue;
      case Screen::Key::kNone:
        break;
    }
    due = base::now() + interval;
    if (paused) continue;
    if (auto now = take_snapshot(admin_socket)) {
      view = view_of(before, *now);
      before = std::move(*now);
    } else {
      view.summary = now.error().text();
    }
  }
}

}  // namespace

int top(const std::string& admin_socket, const TopOptions& options) {
  auto first = take_snapshot(admin_socket);
  if (!first) {
    fmt::print(stderr, "tlsplice top: {}\n", first.error().text());
    return kExitFailed;
  }
  const Milliseconds interval{static_cast<Milliseconds::rep>(options.interval_seconds * 1000)};
  if (options.batch) return batch(admin_socket, std::move(*first), interval, options.count);
  const auto screen = Screen::open();
  if (screen) return live(*screen, admin_socket, std::move(*first), interval);
  fmt::print(stderr, "tlsplice top: this is no terminal that can be drawn on; --batch prints lines\n");
  return kExitFailed;
}

}  // namespace tlsplice::cli
