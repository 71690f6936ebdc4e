// The one door to toml++ within this room. Debian's shared library is the build of toml++ that throws, so its
// exception ends here: parse_toml turns it into a Mistake.
#pragma once

#include <toml++/toml.h>

#include <expected>
#include <string_view>

#include "tlsplice/policy/config.hpp"

namespace tlsplice::policy {

/// The document, or the first place where it is no TOML: behind that nothing can be told.
std::expected<toml::table, Mistake> parse_toml(std::string_view text);

inline Place place_of(const toml::source_region& region) {
  return {region.begin.line, region.begin.column};
}

}  // namespace tlsplice::policy
