// Options that several verbs have, for the files that know the parser. The values outlive the functions that
// set them up in the lambdas that read them, hence they are shared.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>

#include "verbs.hpp"

namespace tlsplice::cli {

/// Where a running service is asked: --socket, or what the configuration says, or the default.
struct Service {
  std::string socket;
  std::string config;
};
std::shared_ptr<Service> add_service_options(CLI::App& command);

/// --output json|table.
std::shared_ptr<std::string> add_output_option(CLI::App& command);
inline Output output_of(const std::string& text) {
  return text == "json" ? Output::kJson : Output::kTable;
}

}  // namespace tlsplice::cli
