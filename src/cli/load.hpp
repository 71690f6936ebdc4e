// What run and check begin with: the configuration read, checked and prepared. When anything is wrong, every
// mistake goes to stderr, one line each, file:line:column first, so that editors and CI annotate the place.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "tlsplice/control/load.hpp"
#include "tlsplice/master/prepare.hpp"
#include "tlsplice/policy/config.hpp"

namespace tlsplice::cli {

/// Nothing when there were mistakes; they have been printed.
std::optional<master::Loaded> load(const std::filesystem::path& file);

/// Where a running service is asked: `socket` when it is named, else what the configuration in the file
/// `config` says, else the default. Nothing when that file has mistakes or turns the socket off; that has
/// been printed.
std::optional<std::string> admin_socket(const std::string& socket, const std::string& config);

}  // namespace tlsplice::cli
