// Facts about this machine: a name with parts, a typed value, and what follows from it for people. Printed
// one line each, or as one JSON object whose members nest as the names do.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace tlsplice::cli {

struct Fact {
  std::vector<std::string> name;  // {"kernel_tls", "rekey", "send"}; facts of one prefix stand together
  std::variant<bool, std::uint64_t, std::string> value;
  std::string consequence;  // one sentence; empty when nothing follows
  bool implied = false;     // by another fact in the list: people need not read it
};
using Facts = std::vector<Fact>;

std::string as_lines(const Facts& facts);
std::string as_json(const Facts& facts);

}  // namespace tlsplice::cli
