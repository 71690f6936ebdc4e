// The table of control commands: each is either answered at once, from what is in force, or plans a change
// and says, once that is in force, what became of it.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "describe.hpp"
#include "json_reader.hpp"
#include "tlsplice/control/control.hpp"

namespace tlsplice::control {

struct Planned {
  /// From what is in force to what shall be; called when its turn has come.
  std::function<std::expected<Loaded, Objections>(const Loaded& now)> plan;
  std::function<ordered_json(const Loaded& before, const Loaded& now)> answer;
  bool even_if_same = false;  // taken over also when the changes are what they were
};

struct Command {
  const char* name;
  const char* operation;  // as the load balancer's API calls it
  ordered_json (*at_once)(const Loaded& now, const Service& service, JsonReader& arguments,
                          Objections& objections);
  Planned (*change)(JsonReader& arguments, Objections& objections);  // one of the two is null
};

/// Null when there is none of that name.
const Command* find_command(std::string_view name);

struct Control::Job {
  const Command* command = nullptr;
  std::string arguments;
  Planned planned;
  Reply reply;
  Loaded next = {};
  std::optional<StagedChanges> staged = {};
};

}  // namespace tlsplice::control
