// A table of plain text: columns as wide as they must be, two spaces between them, for people and for awk.
// Made for tables that are printed whole.
#pragma once

#include <string>
#include <vector>

namespace tlsplice::cli {

class TextTable {
 public:
  explicit TextTable(std::vector<std::string> heading) { rows_.push_back(std::move(heading)); }
  /// As long as the heading.
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  /// The heading first; no spaces at the ends.
  std::vector<std::string> lines() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace tlsplice::cli
