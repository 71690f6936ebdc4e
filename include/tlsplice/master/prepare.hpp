// From a checked configuration to what the workers need: certificates opened, policies applied, target groups
// resolved. `tlsplice check` stops here; `tlsplice run` hands the result to master::run.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "tlsplice/control/load.hpp"
#include "tlsplice/policy/config.hpp"
#include "tlsplice/session/session.hpp"
#include "tlsplice/targets/health.hpp"
#include "tlsplice/tls/context.hpp"

namespace tlsplice::master {

struct Prepared {
  struct Listener {
    net::Address address;
    std::unique_ptr<tls::Context> context;  // of a TLS listener, else null
    session::Service service;               // points to context
  };
  std::vector<Listener> listeners;            // in the order of the configuration
  std::vector<targets::WatchedGroup> groups;  // in that order too
  observe::Shape numbers;                     // what there is to count; the number of workers is still open
  std::unique_ptr<tls::Context> target_context;
  ktls::Support kernel;

  /// In a process that serves no client: private keys are wiped, and nothing of TLS works from here on.
  void forget_keys();
};

/// Opens and checks everything that the configuration names; on failure every mistake. Its targets have
/// addresses (Names::with_addresses).
std::expected<Prepared, std::vector<policy::Mistake>> prepare(const policy::Config& config);

/// A configuration that was read with the changes of run time, checked, and prepared as if no target had a
/// host name: nothing asks for addresses here.
struct Loaded {
  control::Loaded control;
  Prepared prepared;
};
/// On failure every mistake as a line for people, which names its file.
std::expected<Loaded, std::vector<std::string>> load(const std::filesystem::path& file);

}  // namespace tlsplice::master
