// Any answer of the service as the AWS CLI draws it with --output table: what has members of its own becomes
// a section below, the rest a row. Like there, a table that would be wider than a terminal has its rows that
// stand alone turned into two columns.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace tlsplice::cli {

/// Empty when there is nothing to be shown.
std::string json_table(const std::string& title, const nlohmann::ordered_json& answer);

}  // namespace tlsplice::cli
