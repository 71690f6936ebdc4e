// What a service starts from, and begins anew from at a reload: the configuration's file, and what was
// changed at run time on top of it.
#pragma once

#include <expected>
#include <filesystem>
#include <string>
#include <vector>

#include "tlsplice/control/changes.hpp"
#include "tlsplice/policy/config.hpp"

namespace tlsplice::control {

struct Loaded {
  policy::Config file;  // as the file has it
  Changes changes;
  policy::Config config;             // what is to be in force: both together
  std::vector<std::string> dropped;  // for people: changes that are about nothing any more
};

/// Reads both. On failure every mistake as a line for people, which begins with the name of its file.
std::expected<Loaded, std::vector<std::string>> load(const std::filesystem::path& file);

}  // namespace tlsplice::control
