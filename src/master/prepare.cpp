#include "tlsplice/master/prepare.hpp"

#include <iterator>

namespace tlsplice::master {
namespace {

using policy::Mistake;

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
                  .group = targets::Group::from(*config.target_group(configured.forward)).value(),
                  .handshake_timeout = configured.handshake_timeout,
                  .idle_timeout = configured.idle_timeout,
                  .on_truncation = configured.on_truncation};
  return made;
}

}  // namespace

std::expected<Prepared, std::vector<Mistake>> prepare(const policy::Config& config) {
  Prepared prepared;
  std::vector<Mistake> mistakes;
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
  prepared.target_context = std::make_unique<tls::Context>(std::move(*target_context));
  return prepared;
}

}  // namespace tlsplice::master
