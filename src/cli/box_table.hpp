// Tables in boxes of ASCII as the AWS CLI draws them with --output table: sections below one another, each as
// wide as its indentation leaves, an indentation being one more bar at either side.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace tlsplice::cli {

struct BoxSection {
  std::string title;
  std::size_t indentation = 0;
  std::vector<std::string> header;             // may be empty
  std::vector<std::vector<std::string>> rows;  // each as long as the header and as one another
};

std::string box_table(const std::vector<BoxSection>& sections);

/// How wide its lines will be.
std::size_t box_width(const std::vector<BoxSection>& sections);

}  // namespace tlsplice::cli
