// The control verbs: a command for the service that runs, and its answer as it came or as a table.
#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "json_table.hpp"
#include "tlsplice/admin/client.hpp"
#include "tlsplice/control/changes.hpp"
#include "verbs.hpp"

namespace tlsplice::cli {
namespace {

using nlohmann::ordered_json;

/// "describe-listeners" as the API calls it: "DescribeListeners".
std::string operation_of(const std::string& command) {
  std::string operation;
  bool begins = true;
  for (const char c : command) {
    if (c != '-') operation += begins ? static_cast<char>(c - 'a' + 'A') : c;
    begins = c == '-';
  }
  return operation;
}

/// As the AWS CLI, which prints nothing when there is nothing.
int print(const std::string& command, const ordered_json& answer, Output output) {
  std::string text;
  if (output == Output::kTable) {
    text = json_table(operation_of(command), answer);
  } else if (!answer.empty()) {
    text = answer.dump(4, ' ', false, ordered_json::error_handler_t::replace) + "\n";
  }
  if (std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0) return kExitDone;
  std::perror(fmt::format("tlsplice {}: stdout", command).c_str());
  return kExitFailed;
}

int complain(const std::string& command, const std::string& what) {
  fmt::print(stderr, "tlsplice {}: {}\n", command, what);
  return kExitFailed;
}

}  // namespace

int control(const std::string& admin_socket, const ControlCommand& command, Output output) {
  const auto answer = admin::ask(admin_socket, command.name, admin::kWorkPatience, command.arguments);
  if (!answer) return complain(command.name, answer.error().text());
  return print(command.name, ordered_json::parse(answer->json, nullptr, false), output);
}

int upgrade(const std::string& admin_socket) {
  static constexpr const char* kName = "upgrade";
  static constexpr base::Milliseconds kBetweenQuestions{50};
  static constexpr base::Milliseconds kPatience{20'000};
  const auto failed = admin::ask(admin_socket, kName, admin::kWorkPatience);
  // A program that is replaced breaks off: no answer is a good one.
  const bool broke_off = !failed && (failed.error().fault == base::Fault::kProtocol ||
                                     failed.error().fault == base::Fault::kReset);
  if (!failed && !broke_off) return complain(kName, failed.error().text());
  base::Error last = failed ? base::Error::invalid("an answer that was not expected") : failed.error();
  for (const base::Instant end = base::now() + kPatience; base::now() < end;) {
    const auto answer = admin::ask(admin_socket, "describe-listeners");
    if (answer) return kExitDone;
    last = answer.error();
    std::this_thread::sleep_for(kBetweenQuestions);
  }
  return complain(kName, fmt::format("the new program does not serve what stands in the configuration, see "
                                     "its log; the workers from before go on: {}",
                                     last.text()));
}

int reset_changes(const std::string& admin_socket, const std::filesystem::path& config, Output output) {
  const ControlCommand command{.name = "reset-changes", .arguments = "{}"};
  const auto answer = admin::ask(admin_socket, command.name, admin::kWorkPatience);
  if (answer) return print(command.name, ordered_json::parse(answer->json, nullptr, false), output);
  if (answer.error().fault != base::Fault::kRefused || config.empty())
    return complain(command.name, answer.error().text());
  // Nobody is there to do it, which may be because of these very changes.
  const std::filesystem::path file = control::changes_file(config);
  std::error_code error;
  const bool removed = std::filesystem::remove(file, error);
  if (error) return complain(command.name, fmt::format("remove {}: {}", file.string(), error.message()));
  ordered_json undone = {{"Removed", ordered_json::array()}};
  if (removed) undone["Removed"].push_back(file.string());
  return print(command.name, undone, output);
}

}  // namespace tlsplice::cli
