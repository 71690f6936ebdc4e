// Every number here (padding, rounding, where the odd blank goes) is what the AWS CLI does, so that the two
// can be compared line by line. All text is ASCII: a byte is a column.
#include "box_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

namespace tlsplice::cli {
namespace {

constexpr std::size_t kPadding = 4;  // blanks in a cell, both sides together
constexpr std::size_t kLeft = 2;     // of them before the text of a row

using Widths = std::vector<std::size_t>;

std::size_t natural_width(const BoxSection& section);
Widths column_widths(const BoxSection& section, std::size_t total);
Widths text_widths(const BoxSection& section);
std::string rule(const Widths& widths);
std::string header_line(const std::vector<std::string>& cells, const Widths& widths);
std::string row_line(const std::vector<std::string>& cells, const Widths& widths);
std::string centered(const std::string& text, std::size_t width, bool left_bar);

}  // namespace

std::size_t box_width(const std::vector<BoxSection>& sections) {
  std::size_t width = 0;
  for (const BoxSection& section : sections) width = std::max(width, natural_width(section));
  return width;
}

std::string box_table(const std::vector<BoxSection>& sections) {
  const std::size_t width = box_width(sections);
  std::string out = std::string(width, '-') + "\n";
  for (const BoxSection& section : sections) {
    const std::string bars(section.indentation, '|');
    const auto line = [&](const std::string& text) { out += bars + text + bars + "\n"; };
    const std::size_t inner = width - 2 * section.indentation;
    line(centered(section.title, inner, true));
    const Widths widths = column_widths(section, inner);
    line(rule(widths.empty() ? Widths{inner} : widths));
    if (widths.empty()) continue;
    if (!section.header.empty()) {
      line(header_line(section.header, widths));
      line(rule(widths));
    }
    for (const auto& row : section.rows) line(row_line(row, widths));
    line(rule(widths));
  }
  return out;
}

namespace {

std::size_t natural_width(const BoxSection& section) {
  constexpr std::size_t kBorders = 2;
  std::size_t cells = kBorders;
  for (const std::size_t width : text_widths(section)) cells += width + kPadding;
  return std::max(cells, section.title.size() + kBorders) + 2 * section.indentation;
}

// The columns share `total` in proportion to their text; what rounding took or gave too much is evened out,
// taken from the first columns, given to the last.
Widths column_widths(const BoxSection& section, std::size_t total) {
  Widths widths = text_widths(section);
  if (widths.empty()) return widths;
  std::size_t natural = 0;
  for (std::size_t& width : widths) natural += width += kPadding;
  const double scale = static_cast<double>(total) / static_cast<double>(natural);
  std::size_t sum = 0;
  for (std::size_t& width : widths) {
    width = static_cast<std::size_t>(std::nearbyint(scale * static_cast<double>(width)));
    sum += width;
  }
  for (std::size_t i = 0; sum > total; ++i, --sum) --widths[i % widths.size()];
  for (std::size_t i = 0; sum < total; ++i, ++sum) ++widths[widths.size() - 1 - i % widths.size()];
  return widths;
}

Widths text_widths(const BoxSection& section) {
  Widths widths;
  const auto widen = [&](const std::vector<std::string>& cells) {
    widths.resize(std::max(widths.size(), cells.size()));
    for (std::size_t i = 0; i < cells.size(); ++i) widths[i] = std::max(widths[i], cells[i].size());
  };
  widen(section.header);
  for (const auto& row : section.rows) widen(row);
  return widths;
}

// The first cell has a bar at both sides, the others only at their right.
std::string rule(const Widths& widths) {
  std::string out = "+";
  for (std::size_t i = 0; i < widths.size(); ++i) out += std::string(widths[i] - (i == 0 ? 2 : 1), '-') + "+";
  return out;
}

std::string header_line(const std::vector<std::string>& cells, const Widths& widths) {
  std::string out;
  for (std::size_t i = 0; i < cells.size(); ++i) out += centered(cells[i], widths[i], i == 0);
  return out;
}

std::string row_line(const std::vector<std::string>& cells, const Widths& widths) {
  std::string out;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const std::size_t inner = widths[i] - (i == 0 ? 2 : 1);
    out += fmt::format("{}{:<{}}|", i == 0 ? "|" : "", std::string(kLeft, ' ') + cells[i], inner);
  }
  return out;
}

std::string centered(const std::string& text, std::size_t width, bool left_bar) {
  const std::size_t before = std::max<std::size_t>(width / 2 - text.size() / 2, 1) - 1;
  const std::string start = (left_bar ? "|" : "") + std::string(before, ' ') + text;
  return fmt::format("{:<{}}|", start, width - 1);
}

}  // namespace
}  // namespace tlsplice::cli
