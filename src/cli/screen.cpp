#include "screen.hpp"

#include <curses.h>
#include <unistd.h>

#include <algorithm>

namespace tlsplice::cli {
namespace {

constexpr int kEdges = 2;  // the lines above and below that do not scroll

int page() {
  return std::max(1, LINES - kEdges);
}

}  // namespace

std::unique_ptr<Screen> Screen::open() {
  if (::isatty(STDOUT_FILENO) == 0 || ::isatty(STDIN_FILENO) == 0) return nullptr;
  if (newterm(nullptr, stdout, stdin) == nullptr) return nullptr;
  cbreak();
  noecho();
  keypad(stdscr, TRUE);
  curs_set(0);
  return std::unique_ptr<Screen>(new Screen());
}

Screen::~Screen() {
  endwin();
}

void Screen::draw(const std::string& summary, const std::vector<std::string>& lines,
                  const std::string& help) {
  lines_ = static_cast<int>(lines.size());
  first_ = std::clamp(first_, 0, std::max(0, lines_ - page()));
  erase();
  attron(A_BOLD);
  mvaddnstr(0, 0, summary.c_str(), COLS);
  attroff(A_BOLD);
  for (int i = 0; i < page() && first_ + i < lines_; ++i)
    mvaddnstr(i + 1, 0, lines[static_cast<std::size_t>(first_ + i)].c_str(), COLS);
  attron(A_REVERSE);
  mvaddnstr(LINES - 1, 0, help.c_str(), COLS);
  attroff(A_REVERSE);
  refresh();
}

Screen::Key Screen::wait(base::Milliseconds limit) {
  timeout(static_cast<int>(limit.count()));
  switch (getch()) {
    case ERR:
      return Key::kNone;
    case 'q':
    case 'Q':
      return Key::kQuit;
    case 'p':
    case ' ':
      return Key::kPause;
    case KEY_DOWN:
      ++first_;
      break;
    case KEY_UP:
      --first_;
      break;
    case KEY_NPAGE:
      first_ += page();
      break;
    case KEY_PPAGE:
      first_ -= page();
      break;
    case KEY_HOME:
      first_ = 0;
      break;
    default:  // the size of the terminal changed, or a key that means nothing here
      break;
  }
  return Key::kRedraw;
}

}  // namespace tlsplice::cli
