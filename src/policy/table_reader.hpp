// Reads one table of the configuration key by key. What is right is returned; what is wrong is noted as a
// Mistake with its place and nothing is returned, so that reading goes on and all mistakes come out in one
// pass. Every key that was asked for counts as known; finish() notes the others. Lives only while the
// toml::table does.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tlsplice/base/clock.hpp"
#include "tlsplice/policy/config.hpp"
#include "toml.hpp"

namespace tlsplice::policy {

/// Text of the file and where it stands.
struct Text {
  std::string value;
  Place place;
};

/// A word of the file and what it means.
template <typename T>
struct Choice {
  std::string_view word;
  T value;
};

class TableReader {
 public:
  /// `path` leads the keys in messages ("listener.tcp"), empty for the whole file.
  TableReader(const toml::table& table, std::string path, std::vector<Mistake>& mistakes);

  Place place() const { return place_; }
  bool has(std::string_view key) { return find(key) != nullptr; }
  bool has_list(std::string_view key) { return has(key) && find(key)->is_array(); }
  bool has_number(std::string_view key) { return has(key) && find(key)->is_integer(); }

  std::optional<Text> text(std::string_view key);
  /// An empty list is a mistake too.
  std::vector<Text> texts(std::string_view key, std::string_view example);
  std::vector<Text> texts_or_none(std::string_view key, std::string_view example);
  std::optional<bool> boolean(std::string_view key);
  std::optional<std::int64_t> integer(std::string_view key, std::int64_t min, std::int64_t max);
  std::optional<Milliseconds> duration(std::string_view key, Milliseconds min, Milliseconds max);
  std::optional<std::uint64_t> size(std::string_view key, std::uint64_t min, std::uint64_t max);
  template <typename T>
  std::optional<T> choice(std::string_view key, std::initializer_list<Choice<T>> choices);
  std::optional<TableReader> table(std::string_view key, std::string_view example);
  /// The tables of [[key]].
  std::vector<TableReader> tables(std::string_view key);
  /// A list of tables, one or more, each such as `example`.
  std::vector<TableReader> list(std::string_view key, std::string_view example);

  /// Notes that `key` must be here, and is not, at the place of the table. True if it is here.
  bool require(std::string_view key, std::string_view expected);
  /// Notes what is wrong with the value of `key`, at the value.
  void wrong(std::string_view key, std::string what);
  /// The same at a place of its own: one element of an array.
  void wrong_at(Place place, std::string_view key, std::string what);
  /// Notes every key that nobody asked for. To be called last.
  void finish();

 private:
  template <typename T>
  std::optional<T> quantity(std::string_view key, T min, T max, base::Result<T> (*parse)(std::string_view),
                            std::string (*text_of)(T), std::string_view expected);
  const toml::node* find(std::string_view key);
  bool knows(std::string_view key) const;
  void wrong_choice(std::string_view key, std::string_view word, const std::vector<std::string_view>& words);
  std::string path_of(std::string_view key) const;

  const toml::table* table_;
  std::string path_;
  Place place_;
  std::vector<Mistake>* mistakes_;
  std::vector<std::string_view> known_;  // literals: they live for ever
};

template <typename T>
std::optional<T> TableReader::choice(std::string_view key, std::initializer_list<Choice<T>> choices) {
  const auto word = text(key);
  if (!word) return std::nullopt;
  std::vector<std::string_view> words;
  for (const Choice<T>& choice : choices) {
    if (choice.word == word->value) return choice.value;
    words.push_back(choice.word);
  }
  wrong_choice(key, word->value, words);
  return std::nullopt;
}

}  // namespace tlsplice::policy
