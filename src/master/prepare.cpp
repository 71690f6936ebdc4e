#include "tlsplice/master/prepare.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <tuple>

#include "names.hpp"
#include "tlsplice/monitor/monitor.hpp"

namespace tlsplice::master {
namespace {

using policy::Mistake;

relay::Limits relay_limits(const policy::Listener& configured) {
  // In the order of policy::Relay.
  static constexpr relay::Mode kModes[] = {relay::Mode::kAuto, relay::Mode::kSplice,
                                           relay::Mode::kUringSplice, relay::Mode::kCopy};
  return {.idle = configured.idle_timeout,
          .truncation_resets = configured.on_truncation == policy::OnTruncation::kReset,
          .mode = kModes[static_cast<std::size_t>(configured.relay)],
          .thresholds = {.splice_from = configured.splice_from, .copy_below = configured.copy_below}};
}

std::expected<Prepared::Listener, std::vector<Mistake>> prepare_listener(const policy::Config& config,
                                                                         const policy::Listener& configured) {
  Prepared::Listener made;
  if (configured.protocol == policy::Protocol::kTls) {
    auto context = tls::Context::server(configured);
    if (!context) return std::unexpected(std::move(context.error()));
    made.context = std::make_unique<tls::Context>(std::move(*context));
  }
  // Addresses and group names were checked with the whole file (policy room).
  made.address = net::Address::parse(configured.address.host, configured.address.port).value();
  made.service = {.name = configured.name,
                  .protocol = configured.protocol,
                  .context = made.context.get(),
                  .certificate = configured.certificate.chain.string(),
                  .shares = {},
                  .handshake_timeout = configured.handshake_timeout,
                  .relay = relay_limits(configured),
                  .ktls = configured.ktls,
                  .access_log = configured.access_log && !config.access_log.file.empty()};
  for (const policy::Forward& forward : configured.forward) {
    made.service.shares.push_back(
        {.group = targets::Group::from(*config.target_group(forward.target_group)).value(),
         .weight = forward.weight});
  }
  for (const policy::Network& network : configured.proxy_protocol_from)
    made.service.proxy_protocol_from.emplace_back(net::Address::parse(network.host, 0).value(),
                                                  network.prefix);
  return made;
}

/// A row for each listener, each group and each target, in the order of the configuration.
void lay_out_numbers(const policy::Config& config, Prepared& prepared) {
  observe::Shape& numbers = prepared.numbers;
  numbers.listeners.clear();
  std::vector<observe::Shape::Target> targets;
  std::map<std::string_view, std::pair<std::size_t, std::size_t>> places;  // of a group, of its first target
  for (const policy::TargetGroup& group : config.target_groups) {
    places[group.name] = {prepared.groups.size(), targets.size()};
    prepared.groups.push_back({.group = group});
    for (const policy::HostPort& target : group.targets)
      targets.push_back({group.name, policy::to_string(target)});
  }
  for (Prepared::Listener& listener : prepared.listeners) {
    listener.service.row = numbers.listeners.size();
    numbers.listeners.push_back({listener.service.name, policy::to_string(listener.service.protocol)});
    for (targets::Share& share : listener.service.shares) {
      std::tie(share.group_row, share.target_row) = places.at(share.group.name);
      targets::WatchedGroup& watched = prepared.groups[share.group_row];
      if (watched.listener_port == 0) watched.listener_port = listener.address.port();
    }
  }
  if (!targets.empty()) numbers.targets = std::move(targets);  // a map has a row at least
}

/// Checks over HTTP without the library for it: no target would ever be healthy.
void require_http(const policy::Config& config, std::vector<Mistake>& mistakes) {
  for (const policy::TargetGroup& group : config.target_groups) {
    const policy::HealthCheck& check = group.health_check;
    if (!check.enabled || check.protocol == policy::CheckProtocol::kTcp) continue;
    if (auto why = monitor::why_no_http_checks(check.protocol == policy::CheckProtocol::kHttps))
      mistakes.push_back({group.place, "target_group.health_check.protocol", std::move(*why)});
  }
}

/// And ktls = "require" where the kernel has none: every flow would be refused.
std::vector<Mistake> unmet_requirements(const policy::Config& config, const ktls::Support& kernel) {
  std::vector<Mistake> mistakes;
  require_http(config, mistakes);
  if (kernel.ulp) return mistakes;
  const auto require = [&](policy::Ktls wish, const policy::Place& place, const char* key) {
    if (wish == policy::Ktls::kRequire)
      mistakes.push_back({place, key, "\"require\", but " + kernel.why_not});
  };
  for (const policy::TargetGroup& group : config.target_groups)
    require(group.ktls, group.place, "target_group.ktls");
  for (const policy::Listener& listener : config.listeners)
    require(listener.ktls, listener.place, "listener.ktls");
  return mistakes;
}

}  // namespace

std::expected<Prepared, std::vector<Mistake>> prepare(const policy::Config& config) {
  Prepared prepared;
  prepared.kernel = ktls::probe();
  std::vector<Mistake> mistakes = unmet_requirements(config, prepared.kernel);
  for (const policy::Listener& configured : config.listeners) {
    auto listener = prepare_listener(config, configured);
    if (listener) {
      prepared.listeners.push_back(std::move(*listener));
    } else {
      std::ranges::move(listener.error(), std::back_inserter(mistakes));
    }
  }
  auto target_context = tls::Context::client();
  if (!target_context) mistakes.push_back({{}, "target_group", target_context.error().text()});
  if (!mistakes.empty()) return std::unexpected(std::move(mistakes));
  lay_out_numbers(config, prepared);
  prepared.target_context = std::make_unique<tls::Context>(std::move(*target_context));
  return prepared;
}

std::expected<Loaded, std::vector<std::string>> load(const std::filesystem::path& file) {
  auto loaded = control::load(file);
  if (!loaded) return std::unexpected(std::move(loaded.error()));
  auto prepared = prepare(Names().with_addresses(loaded->config).config);  // as long as no name is resolved
  if (prepared) return Loaded{std::move(*loaded), std::move(*prepared)};
  std::vector<std::string> lines;
  for (const Mistake& mistake : prepared.error()) lines.push_back(policy::to_string(file, mistake));
  if (!loaded->changes.empty()) {
    lines.push_back(
        fmt::format("{}: changed at run time, which counts too; \"tlsplice reset-changes -c {}\" undoes it",
                    control::changes_file(file).string(), file.string()));
  }
  return std::unexpected(std::move(lines));
}

void Prepared::forget_keys() {
  for (Listener& listener : listeners) {
    listener.service.context = nullptr;
    listener.context.reset();
  }
  target_context.reset();
}

}  // namespace tlsplice::master
