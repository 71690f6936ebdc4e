#include "options.hpp"

#include <fmt/format.h>

#include "tlsplice/policy/config.hpp"

namespace tlsplice::cli {

std::shared_ptr<Service> add_service_options(CLI::App& command) {
  const auto service = std::make_shared<Service>();
  auto* socket =
      command.add_option("--socket", service->socket, "The admin socket of the service")->type_name("PATH");
  command
      .add_option("-c,--config", service->config, "The configuration of the service, which names the socket")
      ->type_name("FILE")
      ->excludes(socket);
  command.footer(fmt::format("Without --socket and -c it asks {}.", policy::kDefaultAdminSocket));
  return service;
}

std::shared_ptr<std::string> add_output_option(CLI::App& command) {
  const auto output = std::make_shared<std::string>("json");
  command.add_option("--output", *output, "json (default) or table")
      ->check(CLI::IsMember({"json", "table"}).description(""))
      ->type_name("FORMAT");
  return output;
}

}  // namespace tlsplice::cli
