#include "tlsplice/control/load.hpp"

#include <fmt/format.h>

namespace tlsplice::control {

std::expected<Loaded, std::vector<std::string>> load(const std::filesystem::path& file) {
  std::vector<std::string> lines;
  auto config = policy::read_config(file);
  if (!config) {
    for (const policy::Mistake& mistake : config.error()) lines.push_back(policy::to_string(file, mistake));
  }
  const std::filesystem::path beside = changes_file(file);
  auto changes = read_changes(beside);
  std::expected<policy::Config, Objections> both = std::unexpected(Objections{});
  std::vector<std::string> dropped;
  if (!changes) {
    both = std::unexpected(std::move(changes.error()));
  } else if (config) {
    dropped = prune(*changes, *config);
    both = apply(*config, *changes);
  }
  if (both) return Loaded{*std::move(config), *std::move(changes), *std::move(both), std::move(dropped)};

  for (const Objection& objection : both.error())
    lines.push_back(fmt::format("{}: {}", beside.string(), to_string(objection)));
  if (!both.error().empty()) {
    lines.push_back(
        fmt::format("{}: changes of run time that do not fit; put them right, or undo them all with "
                    "\"tlsplice reset-changes -c {}\" or by deleting the file",
                    beside.string(), file.string()));
  }
  return std::unexpected(std::move(lines));
}

}  // namespace tlsplice::control
