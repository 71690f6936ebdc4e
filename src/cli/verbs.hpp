// The verbs of the command line. Each has a setup, which tells the parser its options and leaves what to do
// in `chosen` once the arguments are right, and an action in a file of its own that knows nothing of the
// parser. An action prints for people (results to stdout, what went wrong to stderr) and answers with the
// exit status.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace tlsplice::cli {

inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;  // the work could not be done
inline constexpr int kExitUsage = 2;   // the command line was not understood, nothing was done

/// What the command line asks for; to be called once it was read whole.
using Chosen = std::function<int()>;

struct Verb {
  const char* name;
  const char* help;  // one line
  void (*setup)(CLI::App& command, Chosen& chosen);
};

/// Serves in the foreground until told to stop.
int run(const std::filesystem::path& file);

/// Reads the configuration and says all that is wrong with it.
int check(const std::filesystem::path& file);

enum class Output : std::uint8_t { kJson, kTable };

/// Prints the policies of these names, or all, in the order of the service.
int describe_ssl_policies(const std::vector<std::string>& names, Output output);

/// Empty: all of them.
struct FlowFilter {
  std::string listener;
  std::string peer;  // a client's or target's address, with its port or without
};

/// Prints the live flows of the service that answers on that socket, the oldest first.
int flows(const std::string& admin_socket, const FlowFilter& filter, bool as_json);

struct TopOptions {
  double interval_seconds = 1;
  bool batch = false;       // lines to stdout instead of a screen
  std::uint32_t count = 0;  // of --batch: views to print; 0: until the end
};

/// Shows the numbers of the service that answers on that socket until told to quit.
int top(const std::string& admin_socket, const TopOptions& options);

/// What is asked of a running service.
struct ControlCommand {
  std::string name;
  std::string arguments;  // a JSON object
};

/// Asks the service that answers on that socket, waits until it is done, and prints what it says.
int control(const std::string& admin_socket, const ControlCommand& command, Output output);

/// The same for "reset-changes". Where no service answers, and `config` is not empty, the changes of that
/// configuration are removed from the disk.
int reset_changes(const std::string& admin_socket, const std::filesystem::path& config, Output output);

/// Another program takes the place of the service that answers on that socket; waits until that one answers.
int upgrade(const std::string& admin_socket);

/// The verbs that control a running service.
std::span<const Verb> control_verbs();

/// Tries what this kernel offers and prints it, one line each, or as one JSON object.
int probe(bool json);

}  // namespace tlsplice::cli
