#include "mistakes.hpp"

#include <cstdio>

namespace tlsplice::cli {

void print_mistakes(const std::filesystem::path& file, const std::vector<policy::Mistake>& mistakes) {
  for (const policy::Mistake& mistake : mistakes) {
    std::fprintf(stderr, "%s\n", policy::to_string(file, mistake).c_str());
  }
}

}  // namespace tlsplice::cli
