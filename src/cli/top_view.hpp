// What `tlsplice top` shows: two snapshots as lines of text, rates being the difference of both. Pure; who
// draws it, and where, is not its business.
#pragma once

#include <string>
#include <vector>

#include "snapshot.hpp"

namespace tlsplice::cli {

struct View {
  std::string summary;             // one line
  std::vector<std::string> lines;  // three tables: listeners, targets, workers
};

/// Of the time between the two, which may be of different services: a count that went back has no rate.
View view_of(const Snapshot& before, const Snapshot& now);

}  // namespace tlsplice::cli
