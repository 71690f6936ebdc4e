// The command line: a table of verbs, one line of help each. CLI11 stays in this file, options.cpp and
// control_verbs.cpp; the exit statuses of a command line that was not understood in this one; everything else
// is an action's to say.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cstdio>
#include <exception>
#include <memory>
#include <span>

#include "load.hpp"
#include "options.hpp"
#include "verbs.hpp"

namespace tlsplice::cli {
namespace {

int dispatch(int argc, char** argv);

}  // namespace
}  // namespace tlsplice::cli

int main(int argc, char** argv) {
  try {
    return tlsplice::cli::dispatch(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "tlsplice: %s\n", error.what());
    return tlsplice::cli::kExitFailed;
  }
}

namespace tlsplice::cli {
namespace {

void setup_run(CLI::App& command, Chosen& chosen);
void setup_check(CLI::App& command, Chosen& chosen);
void setup_describe_ssl_policies(CLI::App& command, Chosen& chosen);
void setup_probe(CLI::App& command, Chosen& chosen);
void setup_flows(CLI::App& command, Chosen& chosen);
void setup_top(CLI::App& command, Chosen& chosen);
int usage_error(const CLI::App& app, const CLI::ParseError& error);

constexpr std::array<Verb, 6> kOwnVerbs{{
    {"run", "Serve in the foreground", setup_run},
    {"check", "Validate a configuration, and say what this OpenSSL and this kernel can do for it",
     setup_check},
    {"describe-ssl-policies", "Print the predefined security policies", setup_describe_ssl_policies},
    {"flows", "Print the live flows of a running service", setup_flows},
    {"top", "Show the numbers of a running service, live", setup_top},
    {"probe", "Try what this kernel offers, and say what follows from each no", setup_probe},
}};

int dispatch(int argc, char** argv) {
  CLI::App app("A Network Load Balancer TLS listener on your own hosts", "tlsplice");
  app.set_version_flag("--version", "tlsplice " TLSPLICE_VERSION);
  app.footer("tlsplice VERB --help says more about a verb.");
  Chosen chosen;
  for (const std::span<const Verb> verbs : {std::span<const Verb>(kOwnVerbs), control_verbs()}) {
    for (const Verb& verb : verbs) verb.setup(*app.add_subcommand(verb.name, verb.help), chosen);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const bool answered = error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success);
    return answered ? app.exit(error) : usage_error(app, error);
  }
  if (chosen) return chosen();
  fmt::print(stderr, "{}", app.help());
  return kExitUsage;
}

void add_config_option(CLI::App& command, std::string& config) {
  command.add_option("-c,--config", config, "The configuration, a TOML file")->required()->type_name("FILE");
}

// The options outlive this function in the lambda that reads them, hence the shared values.
void setup_run(CLI::App& command, Chosen& chosen) {
  const auto config = std::make_shared<std::string>();
  add_config_option(command, *config);
  command.callback([config, &chosen] { chosen = [config] { return run(*config); }; });
}

void setup_check(CLI::App& command, Chosen& chosen) {
  const auto config = std::make_shared<std::string>();
  add_config_option(command, *config);
  command.footer(
      "Prints every mistake with its line and column. Exit status 0 if there is none, 1 otherwise.");
  command.callback([config, &chosen] { chosen = [config] { return check(*config); }; });
}

void setup_describe_ssl_policies(CLI::App& command, Chosen& chosen) {
  const auto names = std::make_shared<std::vector<std::string>>();
  command.add_option("--names", *names, "Only the policies of these names")->type_name("NAME");
  const auto output = add_output_option(command);
  command.footer("Prints what \"aws elbv2 describe-ssl-policies\" prints.");
  command.callback([names, output, &chosen] {
    chosen = [=] { return describe_ssl_policies(*names, output_of(*output)); };
  });
}

void setup_probe(CLI::App& command, Chosen& chosen) {
  const auto json = std::make_shared<bool>(false);
  command.add_flag("--json", *json, "One JSON object instead of lines; its members nest as the names do");
  command.footer(
      "Run it as the user that starts the service. Exit status 0 if tlsplice can serve here, 1 otherwise.");
  command.callback([json, &chosen] { chosen = [json] { return probe(*json); }; });
}

void setup_flows(CLI::App& command, Chosen& chosen) {
  const auto service = add_service_options(command);
  const auto filter = std::make_shared<FlowFilter>();
  const auto json = std::make_shared<bool>(false);
  command.add_option("--listener", filter->listener, "Only flows of this listener")->type_name("NAME");
  command
      .add_option("--peer", filter->peer,
                  "Only flows with this client or target: an address, or address:port")
      ->type_name("ADDR");
  command.add_flag("--json", *json, "JSON instead of a table");
  command.footer(
      command.get_footer() +
      "\nThe columns with a comma are of the client's socket and of the target's: KTLS is what tlsplice "
      "knows, those\nbehind it are the kernel's own words.");
  command.callback([=, &chosen] {
    chosen = [=] {
      const auto socket = admin_socket(service->socket, service->config);
      return socket ? flows(*socket, *filter, *json) : kExitFailed;
    };
  });
}

void setup_top(CLI::App& command, Chosen& chosen) {
  const auto service = add_service_options(command);
  const auto options = std::make_shared<TopOptions>();
  command
      .add_option("--interval", options->interval_seconds, "Seconds from one look to the next (default 1)")
      ->check(CLI::Range(0.1, 3600.0).description(""))
      ->type_name("SECONDS");
  auto* batch =
      command.add_flag("-b,--batch", options->batch, "Print lines instead of drawing on the terminal");
  command.add_option("-n,--count", options->count, "Of --batch: print that often, then end")
      ->needs(batch)
      ->type_name("N");
  command.footer(command.get_footer() +
                 "\nRates are of the time since the look before; K, M, G are powers of 1000.");
  command.callback([=, &chosen] {
    chosen = [=] {
      const auto socket = admin_socket(service->socket, service->config);
      return socket ? top(*socket, *options) : kExitFailed;
    };
  });
}

int usage_error(const CLI::App& app, const CLI::ParseError& error) {
  const auto verbs = app.get_subcommands();
  const std::string name = verbs.empty() ? "tlsplice" : "tlsplice " + verbs.front()->get_name();
  fmt::print(stderr, "{}: {}\nTry \"{} --help\".\n", name, error.what(), name);
  return kExitUsage;
}

}  // namespace
}  // namespace tlsplice::cli
