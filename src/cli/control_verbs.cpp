// The options of the control verbs, under the AWS CLI's names and in its shorthand, and what is asked of the
// service with them. What they name is the service's to look up.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "load.hpp"
#include "options.hpp"
#include "shorthand.hpp"
#include "structure.hpp"
#include "verbs.hpp"

namespace tlsplice::cli {
namespace {

using nlohmann::json;
using Texts = std::shared_ptr<std::vector<std::string>>;
using Text = std::shared_ptr<std::string>;

/// A check of the parser by a function that reads the text.
template <typename Parse>
CLI::Validator reads(Parse parse) {
  return {[parse](std::string& text) {
            const auto read = parse(text);
            return read ? std::string() : read.error();
          },
          ""};
}

/// The command is what `arguments` says once the command line was read.
void ask(CLI::App& command, Chosen& chosen, std::function<json()> arguments) {
  const auto service = add_service_options(command);
  const auto output = add_output_option(command);
  const std::string name = command.get_name();
  command.callback([=, &chosen] {
    chosen = [=] {
      const auto socket = admin_socket(service->socket, service->config);
      if (!socket) return kExitFailed;
      // What is no UTF-8 names nothing that the service has.
      std::string text = arguments().dump(-1, ' ', false, json::error_handler_t::replace);
      return control(*socket, {.name = name, .arguments = std::move(text)}, output_of(*output));
    };
  });
}

Text add_target_group(CLI::App& command) {
  auto name = std::make_shared<std::string>();
  command.add_option("--target-group,--target-group-arn", *name, "The target group")
      ->required()
      ->type_name("NAME");
  return name;
}

Texts add_targets(CLI::App& command, const char* help) {
  auto targets = std::make_shared<std::vector<std::string>>();
  command.add_option("--targets", *targets, help)
      ->type_name("Id=ADDRESS,Port=PORT")
      ->check(reads(parse_target));
  return targets;
}

json targets_of(const std::vector<std::string>& targets) {
  json out = json::array();
  for (const std::string& text : targets) out.push_back(*parse_target(text));
  return out;
}

void setup_describe_listeners(CLI::App& command, Chosen& chosen) {
  const auto names = std::make_shared<std::vector<std::string>>();
  command.add_option("--listener,--listener-arns", *names, "Only these listeners")->type_name("NAME");
  ask(command, chosen, [=] { return json{{"listeners", *names}}; });
}

void setup_describe_target_groups(CLI::App& command, Chosen& chosen) {
  const auto names = std::make_shared<std::vector<std::string>>();
  command.add_option("--names,--target-group-arns", *names, "Only these target groups")->type_name("NAME");
  ask(command, chosen, [=] { return json{{"names", *names}}; });
}

void setup_describe_target_health(CLI::App& command, Chosen& chosen) {
  const Text group = add_target_group(command);
  const Texts targets = add_targets(command, "Only these targets");
  ask(command, chosen, [=] { return json{{"target_group", *group}, {"targets", targets_of(*targets)}}; });
}

void setup_describe_attributes(CLI::App& command, Chosen& chosen) {
  const Text group = add_target_group(command);
  ask(command, chosen, [=] { return json{{"target_group", *group}}; });
}

void setup_modify_listener(CLI::App& command, Chosen& chosen) {
  const auto listener = std::make_shared<std::string>();
  const auto policy = std::make_shared<std::string>();
  const auto alpn = std::make_shared<std::string>();
  const auto certificate = std::make_shared<std::string>();
  const auto action = std::make_shared<std::string>();
  command.add_option("--listener,--listener-arn", *listener, "The listener")->required()->type_name("NAME");
  command.add_option("--ssl-policy", *policy, "Its security policy from now on")->type_name("NAME");
  command.add_option("--alpn-policy", *alpn, "Its ALPN policy from now on")->type_name("NAME");
  command
      .add_option("--certificate", *certificate,
                  "Its certificate from now on, PEM files; also to read them anew")
      ->type_name("chain=FILE,key=FILE")
      ->check(reads(parse_certificate));
  command.add_option("--default-action,--default-actions", *action, "Where it forwards to from now on")
      ->type_name("forward=NAME|Type=forward,...|JSON")
      ->check(reads(parse_action));
  ask(command, chosen, [=] {
    json arguments = {{"listener", *listener}};
    if (!policy->empty()) arguments["ssl_policy"] = *policy;
    if (!alpn->empty()) arguments["alpn_policy"] = *alpn;
    if (!certificate->empty()) {
      // The service was started somewhere else.
      const CertificateFiles files = *parse_certificate(*certificate);
      arguments["certificate"] = {{"chain", std::filesystem::absolute(files.chain).string()},
                                  {"key", std::filesystem::absolute(files.key).string()}};
    }
    if (!action->empty()) arguments["forward"] = *parse_action(*action);
    return arguments;
  });
}

void setup_targets(CLI::App& command, Chosen& chosen) {
  const Text group = add_target_group(command);
  const Texts targets = add_targets(command, "The targets; also as ADDRESS:PORT");
  command.get_option("--targets")->required();
  ask(command, chosen, [=] { return json{{"target_group", *group}, {"targets", targets_of(*targets)}}; });
}

void setup_modify_attributes(CLI::App& command, Chosen& chosen) {
  const Text group = add_target_group(command);
  const auto attributes = std::make_shared<std::vector<std::string>>();
  command.add_option("--attributes", *attributes, "What they are from now on; also as KEY=VALUE")
      ->required()
      ->type_name("Key=KEY,Value=VALUE")
      ->check(reads(parse_attribute));
  ask(command, chosen, [=] {
    json map = json::object();
    for (const std::string& text : *attributes) {
      const auto attribute = *parse_attribute(text);
      map[attribute.first] = attribute.second;
    }
    return json{{"target_group", *group}, {"attributes", map}};
  });
}

void setup_without_options(CLI::App& command, Chosen& chosen) {
  ask(command, chosen, [] { return json::object(); });
}

void setup_upgrade(CLI::App& command, Chosen& chosen) {
  const auto service = add_service_options(command);
  command.callback([=, &chosen] {
    chosen = [=] {
      const auto socket = admin_socket(service->socket, service->config);
      return socket ? upgrade(*socket) : kExitFailed;
    };
  });
}

void setup_reset_changes(CLI::App& command, Chosen& chosen) {
  const auto service = add_service_options(command);
  const auto output = add_output_option(command);
  command.footer(command.get_footer() + "\nWith -c it does its work also when no service runs.");
  command.callback([=, &chosen] {
    chosen = [=] {
      const auto socket = admin_socket(service->socket, service->config);
      return socket ? reset_changes(*socket, service->config, output_of(*output)) : kExitFailed;
    };
  });
}

constexpr Verb kVerbs[] = {
    {"describe-listeners", "Print the listeners of a running service", setup_describe_listeners},
    {"describe-target-groups", "Print its target groups", setup_describe_target_groups},
    {"describe-target-health", "Print the targets of a target group, and how they are",
     setup_describe_target_health},
    {"describe-target-group-attributes", "Print the attributes of a target group", setup_describe_attributes},
    {"modify-listener", "Change a listener's security or ALPN policy, certificate or target groups",
     setup_modify_listener},
    {"register-targets", "Add targets to a target group", setup_targets},
    {"deregister-targets", "Take targets out of a target group", setup_targets},
    {"modify-target-group-attributes", "Change attributes of a target group", setup_modify_attributes},
    {"reset-changes", "Undo all changes of run time: back to the file", setup_reset_changes},
    {"reload", "Read the configuration anew", setup_without_options},
    {"upgrade", "Let the program where the service was started from go on in its place", setup_upgrade},
    {"stop", "Drain, then end", setup_without_options},
};

}  // namespace

std::span<const Verb> control_verbs() {
  return kVerbs;
}

}  // namespace tlsplice::cli
