// What run and check begin with: the configuration read, checked and prepared. When anything is wrong, every
// mistake goes to stderr, one line each, file:line:column first, so that editors and CI annotate the place.
#pragma once

#include <filesystem>
#include <optional>

#include "tlsplice/master/prepare.hpp"
#include "tlsplice/policy/config.hpp"

namespace tlsplice::cli {

struct Loaded {
  policy::Config config;
  master::Prepared prepared;
};

/// Nothing when there were mistakes; they have been printed.
std::optional<Loaded> load(const std::filesystem::path& file);

}  // namespace tlsplice::cli
