#include "json_reader.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "tlsplice/policy/words.hpp"

namespace tlsplice::control {
namespace {

constexpr int kNestingMax = 8;
constexpr std::size_t kTextMax = 4096;  // PATH_MAX, and nothing else of ours is longer

using nlohmann::json;

}  // namespace

std::optional<json> parse_object(std::string_view text, Objections& objections) {
  bool too_deep = false;
  const auto limit = [&](int depth, json::parse_event_t, json&) {
    too_deep = too_deep || depth > kNestingMax;
    return !too_deep;
  };
  json value = json::parse(text, limit, false);
  if (!too_deep && value.is_object()) return value;
  objections.push_back({"ValidationError", "",
                        too_deep               ? "nested too deeply"
                        : value.is_discarded() ? "not valid JSON"
                                               : "expected a JSON object"});
  return std::nullopt;
}

JsonReader::JsonReader(const json& object, std::string path, Objections& objections)
    : object_(&object), path_(std::move(path)), objections_(&objections) {}

std::optional<std::string> JsonReader::text(std::string_view key) {
  const json* const value = find(key);
  return value == nullptr ? std::nullopt : text_of(*value, key);
}

std::optional<std::string> JsonReader::required_text(std::string_view key, std::string_view example) {
  if (has(key)) return text(key);
  wrong(key, fmt::format("missing, expected {}", example));
  return std::nullopt;
}

std::optional<std::int64_t> JsonReader::required_integer(std::string_view key, std::int64_t min,
                                                         std::int64_t max) {
  const json* const value = find(key);
  const std::string expected = fmt::format("expected a whole number from {} to {}", min, max);
  if (value == nullptr) {
    wrong(key, "missing, " + expected);
    return std::nullopt;
  }
  // What is larger than any signed number would come out of get() as another one.
  const bool fits = value->is_number_integer() &&
                    (!value->is_number_unsigned() || value->get<std::uint64_t>() <= std::uint64_t(INT64_MAX));
  if (fits && value->get<std::int64_t>() >= min && value->get<std::int64_t>() <= max)
    return value->get<std::int64_t>();
  wrong(key, expected);
  return std::nullopt;
}

std::vector<std::string> JsonReader::texts(std::string_view key) {
  std::vector<std::string> out;
  const json* const value = find(key);
  if (value == nullptr) return out;
  if (!value->is_array()) {
    wrong(key, "expected a list of texts");
    return out;
  }
  for (const json& element : *value) {
    if (auto text = text_of(element, key)) out.push_back(*std::move(text));
  }
  return out;
}

std::map<std::string, std::string> JsonReader::texts_by_name(std::string_view key) {
  std::map<std::string, std::string> out;
  const json* const value = find_object(key);
  if (value == nullptr) return out;
  for (const auto& [name, element] : value->items()) {
    if (auto text = text_of(element, key)) out.emplace(name, *std::move(text));
  }
  return out;
}

std::optional<JsonReader> JsonReader::object(std::string_view key) {
  const json* const value = find_object(key);
  if (value == nullptr) return std::nullopt;
  return JsonReader(*value, path_of(key), *objections_);
}

std::vector<JsonReader> JsonReader::objects(std::string_view key) {
  std::vector<JsonReader> out;
  const json* const value = find(key);
  if (value == nullptr) return out;
  if (!value->is_array() || value->empty()) {
    wrong(key, "expected a list of one JSON object or more");
    return out;
  }
  for (const json& element : *value) {
    if (element.is_object()) {
      out.emplace_back(element, path_of(key), *objections_);
    } else {
      wrong(key, "expected JSON objects in it");
    }
  }
  return out;
}

std::vector<std::pair<std::string, JsonReader>> JsonReader::objects_by_name(std::string_view key) {
  std::vector<std::pair<std::string, JsonReader>> out;
  const json* const value = find_object(key);
  if (value == nullptr) return out;
  for (const auto& [name, element] : value->items()) {
    const std::string path = path_of(key) + "." + policy::key_text(name);
    if (element.is_object()) {
      out.emplace_back(name, JsonReader(element, path, *objections_));
    } else {
      objections_->push_back({"ValidationError", path, "expected a JSON object"});
    }
  }
  return out;
}

void JsonReader::wrong(std::string_view key, std::string what) {
  objections_->push_back({"ValidationError", path_of(key), std::move(what)});
}

void JsonReader::finish() {
  for (const auto& [key, value] : object_->items()) {
    if (std::ranges::find(known_, key) != known_.end()) continue;
    const std::string_view near = policy::nearest(key, known_);
    wrong(key, !near.empty()    ? fmt::format("unknown, did you mean {}?", near)
               : known_.empty() ? "unknown, expected nothing here"
                                : fmt::format("unknown, known here are {}", fmt::join(known_, ", ")));
  }
}

const json* JsonReader::find(std::string_view key) {
  if (std::ranges::find(known_, key) == known_.end()) known_.push_back(key);
  const auto found = object_->find(key);
  return found == object_->end() ? nullptr : &*found;
}

const json* JsonReader::find_object(std::string_view key) {
  const json* const value = find(key);
  if (value == nullptr || value->is_object()) return value;
  wrong(key, "expected a JSON object");
  return nullptr;
}

std::optional<std::string> JsonReader::text_of(const json& value, std::string_view key) {
  if (!value.is_string()) {
    wrong(key, "expected text in quotes");
    return std::nullopt;
  }
  const auto& text = value.get_ref<const std::string&>();
  if (!text.empty() && text.size() <= kTextMax && policy::printable(text) == text) return text;
  wrong(key, text.empty() ? "expected text that is not empty"
             : text.size() > kTextMax
                 ? fmt::format("longer than {} bytes", kTextMax)
                 : fmt::format("{}: expected text without control characters", policy::in_quotes(text)));
  return std::nullopt;
}

std::string JsonReader::path_of(std::string_view key) const {
  return path_.empty() ? policy::key_text(key) : path_ + "." + policy::key_text(key);
}

}  // namespace tlsplice::control
