#include "json_table.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "box_table.hpp"

namespace tlsplice::cli {
namespace {

using nlohmann::ordered_json;
using Names = std::set<std::string>;
using Sections = std::vector<BoxSection>;

constexpr std::size_t kTerminalWidth = 80;  // what the AWS CLI takes when it cannot know

void build(Sections& sections, const std::string& title, const ordered_json& value, std::size_t indentation);

/// A byte is a column, and what is shown cannot speak to the terminal.
std::string cell(const ordered_json& value) {
  std::string text = value.is_string()    ? value.get<std::string>()
                     : value.is_boolean() ? (value.get<bool>() ? "True" : "False")
                                          : value.dump();
  std::ranges::replace_if(text, [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

/// The names of members that are plain values, and of those that are not.
void sort_names(const ordered_json& object, Names& plain, Names& nested) {
  for (const auto& [name, value] : object.items()) (value.is_structured() ? nested : plain).insert(name);
}

void build_list(Sections& sections, const std::string& title, const ordered_json& list,
                std::size_t indentation) {
  Names plain, nested;
  for (const ordered_json& element : list) sort_names(element, plain, nested);
  sections.back().header.assign(plain.begin(), plain.end());
  bool first = true;
  for (const ordered_json& element : list) {
    if (!first && !nested.empty()) sections.push_back({title, indentation, {plain.begin(), plain.end()}, {}});
    first = false;
    std::vector<std::string> row;
    for (const std::string& name : plain)
      row.push_back(element.contains(name) ? cell(element.at(name)) : std::string());
    if (!row.empty()) sections.back().rows.push_back(std::move(row));
    for (const std::string& name : nested) {
      if (element.contains(name)) build(sections, name, element.at(name), indentation + 1);
    }
  }
}

void build_object(Sections& sections, const ordered_json& object, std::size_t indentation) {
  Names plain, nested;
  sort_names(object, plain, nested);
  std::vector<std::string> row;
  if (plain.size() == 1) {
    row = {*plain.begin(), cell(object.at(*plain.begin()))};
  } else {
    for (const std::string& name : plain) row.push_back(cell(object.at(name)));
    sections.back().header.assign(plain.begin(), plain.end());
  }
  if (!row.empty()) sections.back().rows.push_back(std::move(row));
  for (const std::string& name : nested) build(sections, name, object.at(name), indentation + 1);
}

void build(Sections& sections, const std::string& title, const ordered_json& value, std::size_t indentation) {
  if (value.empty()) return;
  sections.push_back({title, indentation, {}, {}});
  if (value.is_object()) return build_object(sections, value, indentation);
  if (value.front().is_object()) return build_list(sections, title, value, indentation);
  for (const ordered_json& element : value) sections.back().rows.push_back({cell(element)});
}

/// A row that stands alone becomes two columns, a line for each of its cells.
void turn(Sections& sections) {
  for (BoxSection& section : sections) {
    if (section.rows.size() != 1 || section.header.empty()) continue;
    std::vector<std::vector<std::string>> lines;
    for (std::size_t i = 0; i < section.header.size(); ++i)
      lines.push_back({section.header[i], section.rows[0][i]});
    section.header.clear();
    section.rows = std::move(lines);
  }
}

}  // namespace

std::string json_table(const std::string& title, const ordered_json& answer) {
  Sections sections;
  build(sections, title, answer, 0);
  if (sections.empty()) return {};
  if (box_width(sections) > kTerminalWidth) turn(sections);
  return box_table(sections);
}

}  // namespace tlsplice::cli
