// tlsplice check: everything that run does before it starts, and what each listener will really offer.
#include <fmt/format.h>

#include <cstdio>

#include "load.hpp"
#include "tlsplice/master/prepare.hpp"
#include "verbs.hpp"

namespace tlsplice::cli {
namespace {

void print_names(const char* title, const std::vector<std::string>& names) {
  fmt::print("  {:<10}", title);
  for (const std::string& name : names) fmt::print(" {}", name);
  fmt::print("\n");
}

void print_offer(const tls::Offer& offer) {
  print_names("protocols", offer.protocols);
  print_names("ciphers", offer.ciphers);
  print_names("groups", offer.groups);
  for (const tls::Missing& missing : offer.missing) {
    fmt::print("  {}: {} is not offered: {}\n", missing.library ? "warning" : "note", missing.name,
               missing.why);
  }
  for (const std::string& warning : offer.warnings) fmt::print("  warning: {}\n", warning);
}

}  // namespace

int check(const std::filesystem::path& file) {
  const auto loaded = load(file);
  if (!loaded) return kExitFailed;
  const auto& [config, prepared] = *loaded;
  fmt::print("{}: good, with {}\n", file.string(), tls::library_version());
  fmt::print("kernel TLS: {}{}\n", prepared.kernel.ulp ? "yes" : "no, ", prepared.kernel.why_not);
  fmt::print("metrics: {}\n", config.metrics.address ? fmt::format("http://{}/metrics",
                                                                   policy::to_string(*config.metrics.address))
                                                     : "off");
  for (std::size_t i = 0; i < config.listeners.size(); ++i) {
    const policy::Listener& listener = config.listeners[i];
    const master::Prepared::Listener& made = prepared.listeners[i];
    fmt::print("listener {}: {} on {}, forwards to {} ({}, {} target{})\n", listener.name,
               policy::to_string(listener.protocol), policy::to_string(listener.address), listener.forward,
               policy::to_string(made.service.group.protocol), made.service.group.targets.size(),
               made.service.group.targets.size() == 1 ? "" : "s");
    if (!made.context) continue;
    fmt::print("  {:<10} {}\n", "ssl_policy", listener.ssl_policy);
    print_offer(made.context->offer());
  }
  return 0;
}

}  // namespace tlsplice::cli
