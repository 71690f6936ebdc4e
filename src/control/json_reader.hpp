// Reads one JSON object member by member, as policy's TableReader reads a table: what is right is returned,
// what is wrong is noted and reading goes on; finish() notes what nobody asked for. Text is refused unless it
// is fit to be shown. Lives only while the JSON does.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tlsplice/control/changes.hpp"

namespace tlsplice::control {

/// The object, or what is wrong with the text, noted. Nested without end is wrong.
std::optional<nlohmann::json> parse_object(std::string_view text, Objections& objections);

class JsonReader {
 public:
  /// `path` leads the keys in objections; empty for the whole.
  JsonReader(const nlohmann::json& object, std::string path, Objections& objections);

  bool has(std::string_view key) { return find(key) != nullptr; }
  bool has_list(std::string_view key) { return has(key) && find(key)->is_array(); }
  std::optional<std::string> text(std::string_view key);
  std::optional<std::string> required_text(std::string_view key, std::string_view example);
  std::optional<std::int64_t> required_integer(std::string_view key, std::int64_t min, std::int64_t max);
  std::vector<std::string> texts(std::string_view key);
  std::map<std::string, std::string> texts_by_name(std::string_view key);
  std::optional<JsonReader> object(std::string_view key);
  /// The elements of a list of objects, which has one at least.
  std::vector<JsonReader> objects(std::string_view key);
  /// Every member of the object `key`, which are objects themselves.
  std::vector<std::pair<std::string, JsonReader>> objects_by_name(std::string_view key);

  void wrong(std::string_view key, std::string what);
  void finish();

 private:
  const nlohmann::json* find(std::string_view key);
  const nlohmann::json* find_object(std::string_view key);
  std::optional<std::string> text_of(const nlohmann::json& value, std::string_view key);
  std::string path_of(std::string_view key) const;

  const nlohmann::json* object_;
  std::string path_;
  Objections* objections_;
  std::vector<std::string_view> known_;  // literals
};

}  // namespace tlsplice::control
