// How mistakes in a configuration reach people: one line each on stderr, file:line:column first, so that
// editors and CI annotate the place.
#pragma once

#include <filesystem>
#include <vector>

#include "tlsplice/policy/config.hpp"

namespace tlsplice::cli {

void print_mistakes(const std::filesystem::path& file, const std::vector<policy::Mistake>& mistakes);

}  // namespace tlsplice::cli
