// Words in messages about a configuration: the known word nearest to a mistyped one, and text of the file
// made fit to be shown. The file may be hostile and the message may reach a terminal, so nothing of it is
// shown raw or at length.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace tlsplice::policy {

/// A longer word than this is no typing mistake of ours; the limit bounds the work a hostile file can ask
/// for.
inline constexpr std::size_t kNearestMax = 64;
/// As much of a value as a message shows.
inline constexpr std::size_t kShownMax = 64;

/// The word of `known` that takes the fewest slips (a letter too many, missing, wrong, or two swapped) to
/// become `word`, the first of equals; empty when that is more than a third of the longer word. Case does not
/// count.
std::string_view nearest(std::string_view word, std::span<const std::string_view> known);

/// The text with every control character escaped, so that it cannot speak to the terminal.
std::string printable(std::string_view text);

/// The printable text in quotes, its own quotes escaped, cut after kShownMax bytes.
std::string in_quotes(std::string_view text);

/// A key as TOML would take it: bare if it can be, else quoted.
std::string key_text(std::string_view key);

}  // namespace tlsplice::policy
