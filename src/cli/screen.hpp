// The terminal of `tlsplice top`: ncurses stays in screen.cpp. The terminal is as it was before when the
// Screen is gone, also when a signal ends the process.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tlsplice/base/clock.hpp"

namespace tlsplice::cli {

class Screen {
 public:
  /// Null when this terminal cannot be drawn on.
  static std::unique_ptr<Screen> open();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;
  ~Screen();

  /// `summary` on top, as many of the lines as fit below, `help` at the bottom.
  void draw(const std::string& summary, const std::vector<std::string>& lines, const std::string& help);

  enum class Key : std::uint8_t { kNone, kQuit, kPause, kRedraw };
  /// Waits for a key that long. Scrolling is the screen's own affair, and asks to be drawn anew.
  Key wait(base::Milliseconds limit);

 private:
  Screen() = default;
  int first_ = 0;  // line on top
  int lines_ = 0;
};

}  // namespace tlsplice::cli
