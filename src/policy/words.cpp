// Nearness is the optimal string alignment distance: the Levenshtein distance that counts two swapped
// neighbours as one slip, which is the commonest one of typing hands.
#include "tlsplice/policy/words.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

namespace tlsplice::policy {
namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
bool same(char a, char b) {
  return lower(a) == lower(b);
}

std::size_t slips(std::string_view from, std::string_view to);
bool is_bare(std::string_view key);
bool is_control(std::string_view text, std::size_t at);
std::size_t cut(std::string_view text);

}  // namespace

std::string_view nearest(std::string_view word, std::span<const std::string_view> known) {
  if (word.empty() || word.size() > kNearestMax) return {};
  std::string_view best;
  std::size_t fewest = kNearestMax;
  for (const std::string_view candidate : known) {
    const std::size_t distance = slips(word, candidate);
    if (distance > std::max(word.size(), candidate.size()) / 3 || distance >= fewest) continue;
    best = candidate;
    fewest = distance;
  }
  return best;
}

std::string printable(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (is_control(text, i)) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[i]));
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string in_quotes(std::string_view text) {
  std::string out = "\"";
  for (const char c : printable(text.substr(0, cut(text)))) {
    if (c == '"') out += '\\';
    out += c;
  }
  return out + (text.size() > kShownMax ? "...\"" : "\"");
}

std::string key_text(std::string_view key) {
  return is_bare(key) && key.size() <= kShownMax ? std::string(key) : in_quotes(key);
}

namespace {

// Three rows of the usual matrix are enough: a swap looks back two rows, everything else one.
std::size_t slips(std::string_view from, std::string_view to) {
  std::vector<std::size_t> before(to.size() + 1), above(to.size() + 1), row(to.size() + 1);
  for (std::size_t j = 0; j <= to.size(); ++j) above[j] = j;
  for (std::size_t i = 1; i <= from.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= to.size(); ++j) {
      const std::size_t wrong = same(from[i - 1], to[j - 1]) ? 0 : 1;
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + wrong});
      const bool swapped = i > 1 && j > 1 && same(from[i - 1], to[j - 2]) && same(from[i - 2], to[j - 1]);
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, above);
    std::swap(above, row);
  }
  return above[to.size()];
}

bool is_continuation(char c) {
  return (static_cast<unsigned char>(c) & 0xc0) == 0x80;
}

// C1 controls are two bytes in UTF-8 (U+009B is c2 9b) and some terminals obey them like their ESC forms.
bool is_control(std::string_view text, std::size_t at) {
  const auto byte = static_cast<unsigned char>(text[at]);
  if (byte < 0x20 || byte == 0x7f) return true;
  if (byte != 0xc2 || at + 1 == text.size()) return false;
  return static_cast<unsigned char>(text[at + 1]) < 0xa0;
}

// Where to cut without halving a UTF-8 character.
std::size_t cut(std::string_view text) {
  std::size_t size = std::min(text.size(), kShownMax);
  while (size > 0 && size < text.size() && is_continuation(text[size])) --size;
  return size;
}

bool is_bare(std::string_view key) {
  return !key.empty() && std::ranges::all_of(key, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

}  // namespace
}  // namespace tlsplice::policy
