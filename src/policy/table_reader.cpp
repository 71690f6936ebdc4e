// How a value is taken from its table, and the words for a value that is of another kind, out of its bounds,
// missing or unknown.
#include "table_reader.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "tlsplice/policy/units.hpp"
#include "tlsplice/policy/words.hpp"

namespace tlsplice::policy {
namespace {

// What a value is, for people who wrote another.
std::string_view kind_of(const toml::node& node);

}  // namespace

TableReader::TableReader(const toml::table& table, std::string path, std::vector<Mistake>& mistakes)
    : table_(&table), path_(std::move(path)), place_(place_of(table.source())), mistakes_(&mistakes) {}

std::optional<Text> TableReader::text(std::string_view key) {
  const toml::node* const node = find(key);
  if (node == nullptr) return std::nullopt;
  if (const auto* value = node->as_string()) return Text{value->get(), place_of(node->source())};
  wrong(key, fmt::format("expected text in quotes, not {}", kind_of(*node)));
  return std::nullopt;
}

std::vector<Text> TableReader::texts(std::string_view key, std::string_view example) {
  if (has_list(key) && find(key)->as_array()->empty())
    wrong(key, fmt::format("expected at least one, such as {}", example));
  return texts_or_none(key, example);
}

std::vector<Text> TableReader::texts_or_none(std::string_view key, std::string_view example) {
  const toml::node* const node = find(key);
  if (node == nullptr) return {};
  const toml::array* const array = node->as_array();
  if (array == nullptr) {
    wrong(key, fmt::format("expected a list such as {}, not {}", example, kind_of(*node)));
    return {};
  }
  std::vector<Text> out;
  for (const toml::node& element : *array) {
    const Place place = place_of(element.source());
    if (const auto* value = element.as_string()) {
      out.push_back({value->get(), place});
    } else {
      wrong_at(place, key, fmt::format("expected text in quotes, not {}", kind_of(element)));
    }
  }
  return out;
}

std::optional<bool> TableReader::boolean(std::string_view key) {
  const toml::node* const node = find(key);
  if (node == nullptr) return std::nullopt;
  if (const auto* value = node->as_boolean()) return value->get();
  wrong(key, fmt::format("expected true or false, without quotes, not {}", kind_of(*node)));
  return std::nullopt;
}

std::optional<std::int64_t> TableReader::integer(std::string_view key, std::int64_t min, std::int64_t max) {
  const toml::node* const node = find(key);
  if (node == nullptr) return std::nullopt;
  const auto* const value = node->as_integer();
  if (value == nullptr) {
    wrong(key, fmt::format("expected a whole number from {} to {}, not {}", min, max, kind_of(*node)));
    return std::nullopt;
  }
  if (value->get() >= min && value->get() <= max) return value->get();
  wrong(key, fmt::format("{} is out of range, expected {} to {}", value->get(), min, max));
  return std::nullopt;
}

std::optional<Milliseconds> TableReader::duration(std::string_view key, Milliseconds min, Milliseconds max) {
  return quantity(key, min, max, parse_duration, duration_text, R"(a duration in quotes such as "10s")");
}

std::optional<std::uint64_t> TableReader::size(std::string_view key, std::uint64_t min, std::uint64_t max) {
  return quantity(key, min, max, parse_size, size_text, R"(a size in quotes such as "64KiB")");
}

template <typename T>
std::optional<T> TableReader::quantity(std::string_view key, T min, T max,
                                       base::Result<T> (*parse)(std::string_view), std::string (*text_of)(T),
                                       std::string_view expected) {
  const toml::node* const node = find(key);
  if (node == nullptr) return std::nullopt;
  const auto* const value = node->as_string();
  if (value == nullptr) {
    wrong(key, fmt::format("expected {}", expected));
    return std::nullopt;
  }
  const auto read = parse(value->get());
  if (!read) {
    wrong(key, read.error().detail);
    return std::nullopt;
  }
  if (*read >= min && *read <= max) return *read;
  wrong(key, fmt::format("{} is out of range, expected \"{}\" to \"{}\"", in_quotes(value->get()),
                         text_of(min), text_of(max)));
  return std::nullopt;
}

std::optional<TableReader> TableReader::table(std::string_view key, std::string_view example) {
  const toml::node* const node = find(key);
  if (node == nullptr) return std::nullopt;
  if (const toml::table* table = node->as_table()) return TableReader(*table, path_of(key), *mistakes_);
  wrong(key, fmt::format("expected {}, not {}", example, kind_of(*node)));
  return std::nullopt;
}

std::vector<TableReader> TableReader::tables(std::string_view key) {
  const toml::node* const node = find(key);
  if (node == nullptr) return {};
  const toml::array* const array = node->as_array();
  if (array == nullptr) {
    const bool single = node->is_table();
    wrong(key, single ? fmt::format("there can be several, so the heading is [[{}]]", key)
                      : fmt::format("expected tables headed [[{}]], not {}", key, kind_of(*node)));
    return {};
  }
  if (array->empty()) wrong(key, fmt::format("expected at least one [[{}]]", key));
  std::vector<TableReader> out;
  for (const toml::node& element : *array) {
    if (const toml::table* table = element.as_table()) {
      out.emplace_back(*table, path_of(key), *mistakes_);
    } else {
      wrong_at(place_of(element.source()), key,
               fmt::format("expected tables headed [[{}]], not {}", key, kind_of(element)));
    }
  }
  return out;
}

std::vector<TableReader> TableReader::list(std::string_view key, std::string_view example) {
  const toml::node* const node = find(key);
  if (node == nullptr) return {};
  const toml::array* const array = node->as_array();
  if (array == nullptr) {
    wrong(key, fmt::format("expected a list such as [{}], not {}", example, kind_of(*node)));
    return {};
  }
  if (array->empty()) wrong(key, fmt::format("expected at least one, such as [{}]", example));
  std::vector<TableReader> out;
  for (const toml::node& element : *array) {
    if (const toml::table* table = element.as_table()) {
      out.emplace_back(*table, path_of(key), *mistakes_);
    } else {
      wrong_at(place_of(element.source()), key,
               fmt::format("expected {}, not {}", example, kind_of(element)));
    }
  }
  return out;
}

bool TableReader::require(std::string_view key, std::string_view expected) {
  if (has(key)) return true;
  wrong_at(place_, key, fmt::format("missing, expected {}", expected));
  return false;
}

void TableReader::wrong(std::string_view key, std::string what) {
  const toml::node* const node = find(key);
  wrong_at(node == nullptr ? place_ : place_of(node->source()), key, std::move(what));
}

void TableReader::wrong_at(Place place, std::string_view key, std::string what) {
  mistakes_->push_back({place, path_of(key), std::move(what)});
}

void TableReader::finish() {
  for (const auto& [key, value] : *table_) {
    if (knows(key.str())) continue;
    const std::string_view near = nearest(key.str(), known_);
    std::string what = near.empty() ? fmt::format("unknown key, known here are {}", fmt::join(known_, ", "))
                                    : fmt::format("unknown key, did you mean {}?", near);
    wrong_at(place_of(key.source()), key.str(), std::move(what));
  }
}

const toml::node* TableReader::find(std::string_view key) {
  if (!knows(key)) known_.push_back(key);
  return table_->get(key);
}

bool TableReader::knows(std::string_view key) const {
  return std::ranges::find(known_, key) != known_.end();
}

void TableReader::wrong_choice(std::string_view key, std::string_view word,
                               const std::vector<std::string_view>& words) {
  std::string right;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) right += i + 1 == words.size() ? " or " : ", ";
    right += in_quotes(words[i]);
  }
  wrong(key, fmt::format("{} is unknown, expected {}", in_quotes(word), right));
}

std::string TableReader::path_of(std::string_view key) const {
  return path_.empty() ? key_text(key) : path_ + "." + key_text(key);
}

namespace {

std::string_view kind_of(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "a list";
    case toml::node_type::string:
      return "text";
    case toml::node_type::integer:
      return "a number";
    case toml::node_type::floating_point:
      return "a number with a fraction";
    case toml::node_type::boolean:
      return "true or false";
    default:
      return "a date or time";
  }
}

}  // namespace
}  // namespace tlsplice::policy
