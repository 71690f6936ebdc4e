// tlsplice check: everything that run does before it starts, and what each listener will really offer.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdio>

#include "load.hpp"
#include "tlsplice/master/client_ip.hpp"
#include "tlsplice/master/prepare.hpp"
#include "tlsplice/policy/host_port.hpp"
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

void print_alpn_policy(policy::AlpnPolicy policy) {
  const auto protocols = policy::application_protocols(policy);
  if (!protocols.empty())
    fmt::print("  {:<10} {}: {}\n", "alpn", policy::to_string(policy), fmt::join(protocols, " "));
}

/// Whether the targets of this listener can see its clients.
void print_client_ip(const policy::Config& config, const targets::Group& group) {
  if (!group.preserve_client_ip) return;
  const std::string missing = master::missing_for_client_ip(config);
  fmt::print("  {:<10} preserved\n", "client_ip");
  if (!missing.empty()) fmt::print("  warning: preserve_client_ip: {}\n", missing);
  const auto strict = master::strict_devices();
  const bool v4 = std::ranges::find(group.targets, AF_INET, &net::Address::family) != group.targets.end();
  if (!v4 || strict.empty()) return;
  fmt::print(
      "  note: rp_filter is 1 on {}: what a target answers is dropped unless it comes by the device "
      "that leads to it\n",
      fmt::join(strict, ", "));
}

/// The targets that are names, which are not resolved here.
std::vector<std::string> names_of(const policy::TargetGroup& group) {
  std::vector<std::string> names;
  for (const policy::HostPort& target : group.targets) {
    if (policy::is_host_name(target)) names.push_back(policy::to_string(target));
  }
  return names;
}

/// "app (TCP, 2 targets)", with more than one "90 of 100 to blue (TCP, 2 targets), 10 of 100 to ..."
std::string forwards(const policy::Config& config, const std::vector<targets::Share>& shares) {
  std::uint32_t all = 0;
  for (const targets::Share& share : shares) all += share.weight;
  std::string out;
  for (const auto& [group, weight, group_row, target_row] : shares) {
    if (!out.empty()) out += ", ";
    if (shares.size() > 1) out += fmt::format("{} of {} to ", weight, all);
    const std::size_t targets = config.target_group(group.name)->targets.size();
    out += fmt::format("{} ({}, {} target{})", group.name, policy::to_string(group.protocol), targets,
                       targets == 1 ? "" : "s");
  }
  return out;
}

void print_changes(const control::Loaded& control) {
  const std::string file = control::changes_file(control.file.file).string();
  for (const std::string& line : control.dropped) fmt::print("{}: no longer counts: {}\n", file, line);
  if (control.changes.empty()) return;
  fmt::print("{}: changed at run time (\"tlsplice reset-changes\" undoes it):\n", file);
  for (const std::string& line : control::tell(control.changes, control.file)) fmt::print("  {}\n", line);
}

}  // namespace

int check(const std::filesystem::path& file) {
  const auto loaded = load(file);
  if (!loaded) return kExitFailed;
  const auto& [control, prepared] = *loaded;
  const policy::Config& config = control.config;
  fmt::print("{}: good, with {}\n", file.string(), tls::library_version());
  print_changes(control);
  fmt::print("kernel TLS: {}{}\n", prepared.kernel.ulp ? "yes" : "no, ", prepared.kernel.why_not);
  fmt::print("metrics: {}\n", config.metrics.address ? fmt::format("http://{}/metrics",
                                                                   policy::to_string(*config.metrics.address))
                                                     : "off");
  for (std::size_t i = 0; i < config.listeners.size(); ++i) {
    const policy::Listener& listener = config.listeners[i];
    const master::Prepared::Listener& made = prepared.listeners[i];
    fmt::print("listener {}: {} on {}, forwards to {}\n", listener.name, policy::to_string(listener.protocol),
               policy::to_string(listener.address), forwards(config, made.service.shares));
    for (const targets::Share& share : made.service.shares) {
      const auto names = names_of(*config.target_group(share.group.name));
      if (!names.empty()) print_names("names", names);
      print_client_ip(config, share.group);
    }
    if (!made.context) continue;
    fmt::print("  {:<10} {}\n", "ssl_policy", listener.ssl_policy);
    print_alpn_policy(listener.alpn_policy);
    print_offer(made.context->offer());
  }
  return 0;
}

}  // namespace tlsplice::cli
