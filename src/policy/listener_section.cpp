// One [[listener]]: what it listens on, what it presents, where it forwards. Keys that belong to TLS are
// refused on a TCP listener, as the load balancer's API refuses them: ignoring them would leave people
// believing they are in force.
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "sections.hpp"
#include "tlsplice/policy/forward.hpp"
#include "tlsplice/policy/host_port.hpp"
#include "tlsplice/policy/ssl_policies.hpp"
#include "tlsplice/policy/words.hpp"

namespace tlsplice::policy {
namespace {

constexpr Milliseconds kHandshakeTimeoutMin{1};
constexpr Milliseconds kHandshakeTimeoutMax{3'600'000};
// The load balancer allows 60 s to 6000 s; the lower end is ours, for tests and for hosts that want it.
constexpr Milliseconds kIdleTimeoutMin{1'000};
constexpr Milliseconds kIdleTimeoutMax{6'000'000};

// A read never brings more than the relay's buffer takes.
constexpr std::uint64_t kSpliceFromMax = 64 * 1024;
constexpr std::uint64_t kCopyBelowMax = 1024 * 1024;

constexpr const char* kCertificateExample = R"({ chain = "web.pem", key = "web.key" })";
constexpr const char* kActionExample = R"({ forward = "app" })";
constexpr const char* kShareExample = R"({ target_group = "blue", weight = 90 })";

HostPort read_address(TableReader& table, Seen& seen);
void read_tls(TableReader& table, const std::filesystem::path& folder, Listener& listener);
void read_handshake_timeout(TableReader& table, std::optional<Protocol> protocol, Listener& listener);
AlpnPolicy read_alpn_policy(TableReader& table);
Certificate read_certificate(TableReader& table, const std::filesystem::path& folder);
std::filesystem::path read_path(TableReader& table, std::string_view key,
                                const std::filesystem::path& folder);
void refuse_tls(TableReader& table);
std::vector<Forward> read_forward(TableReader& table, const Seen& seen);
std::vector<Forward> read_shares(TableReader& action, const Seen& seen);
bool expect_group(TableReader& table, std::string_view key, const Text& name, const Seen& seen);
void read_listener_access_log(TableReader& table, const Seen& seen, Listener& listener);
void read_tcp(TableReader& table, Listener& listener);
void read_relay(TableReader& table, Listener& listener);
void read_on_truncation(TableReader& table, std::optional<Protocol> protocol, const Seen& seen,
                        Listener& listener);

}  // namespace

Listener read_listener(TableReader table, const std::filesystem::path& folder, Seen& seen) {
  Listener listener;
  listener.place = table.place();
  listener.name = read_name(table, "web", seen.listener_lines);
  const auto protocol =
      table.choice<Protocol>("protocol", {{"TLS", Protocol::kTls}, {"TCP", Protocol::kTcp}});
  table.require("protocol", R"("TLS" or "TCP")");
  listener.protocol = protocol.value_or(listener.protocol);
  listener.address = read_address(table, seen);
  if (protocol == Protocol::kTcp) {
    refuse_tls(table);
  } else {
    if (protocol == Protocol::kTls) table.require("certificate", kCertificateExample);
    read_tls(table, folder, listener);
  }
  read_handshake_timeout(table, protocol, listener);
  listener.forward = read_forward(table, seen);
  read_listener_access_log(table, seen, listener);
  read_tcp(table, listener);
  read_relay(table, listener);
  read_on_truncation(table, protocol, seen, listener);
  listener.proxy_protocol_from = read_accept_from(table);
  table.finish();
  return listener;
}

namespace {

HostPort read_address(TableReader& table, Seen& seen) {
  if (!table.require("address", R"(one such as "0.0.0.0:443")")) return {};
  const auto text = table.text("address");
  if (!text) return {};
  const auto address = parse_host_port(text->value);
  if (!address) {
    table.wrong("address", address.error());
    return {};
  }
  const auto [entry, fresh] = seen.address_lines.emplace(to_string(*address), text->place.line);
  if (!fresh) {
    table.wrong("address", fmt::format("{} is taken by line {}, expected another address or port",
                                       in_quotes(text->value), entry->second));
  }
  return *address;
}

void read_tls(TableReader& table, const std::filesystem::path& folder, Listener& listener) {
  listener.certificate = read_certificate(table, folder);
  listener.certificate_keys =
      table
          .choice<CertificateKeys>("certificate_keys",
                                   {{"rsa-2048", CertificateKeys::kDocument}, {"any", CertificateKeys::kAny}})
          .value_or(listener.certificate_keys);
  listener.ktls = read_ktls(table);
  listener.alpn_policy = read_alpn_policy(table);
  auto name = table.text("ssl_policy");
  if (!name) return;
  listener.ssl_policy_place = name->place;
  if (find_ssl_policy(name->value) == nullptr) {
    const std::string_view near = nearest_ssl_policy(name->value);
    table.wrong("ssl_policy", near.empty()
                                  ? fmt::format("{} is no security policy, expected one that \"tlsplice "
                                                "describe-ssl-policies\" prints",
                                                in_quotes(name->value))
                                  : fmt::format("{} is no security policy, did you mean {}?",
                                                in_quotes(name->value), in_quotes(near)));
  }
  listener.ssl_policy = std::move(name->value);
}

AlpnPolicy read_alpn_policy(TableReader& table) {
  const auto name = table.text("alpn_policy");
  if (!name) return AlpnPolicy::kNone;
  const auto policy = find_alpn_policy(name->value);
  if (!policy) table.wrong("alpn_policy", no_alpn_policy(name->value));
  return policy.value_or(AlpnPolicy::kNone);
}

/// The limit of a TLS handshake and of a proxy's header in front: a TCP listener may have the latter.
void read_handshake_timeout(TableReader& table, std::optional<Protocol> protocol, Listener& listener) {
  constexpr std::string_view kKey = "handshake_timeout";
  if (protocol == Protocol::kTcp && !table.has("proxy_protocol")) {
    if (table.has(kKey)) {
      table.wrong(kKey,
                  "only for TLS listeners, and TCP listeners with proxy_protocol; remove it or set "
                  R"(protocol = "TLS")");
    }
    return;
  }
  listener.handshake_timeout =
      table.duration(kKey, kHandshakeTimeoutMin, kHandshakeTimeoutMax).value_or(listener.handshake_timeout);
}

Certificate read_certificate(TableReader& table, const std::filesystem::path& folder) {
  if (table.has_list("certificate")) {
    table.wrong("certificate",
                fmt::format("a TLS listener has exactly one certificate, expected {}, not a list",
                            kCertificateExample));
    return {};
  }
  auto pair = table.table("certificate", kCertificateExample);
  if (!pair) return {};
  Certificate certificate;
  certificate.place = pair->place();
  certificate.chain = read_path(*pair, "chain", folder);
  certificate.key = read_path(*pair, "key", folder);
  pair->finish();
  return certificate;
}

std::filesystem::path read_path(TableReader& table, std::string_view key,
                                const std::filesystem::path& folder) {
  if (!table.require(key, "the path of a PEM file")) return {};
  const auto text = table.text(key);
  if (!text) return {};
  // A NUL would end the path early wherever it meets the kernel: what is opened would not be what is written.
  if (text->value.empty() || text->value.find('\0') != std::string::npos) {
    table.wrong(key, in_quotes(text->value) + " is no path, expected that of a PEM file");
    return {};
  }
  return folder / text->value;
}

void refuse_tls(TableReader& table) {
  for (const std::string_view key :
       {"certificate", "certificate_keys", "ssl_policy", "alpn_policy", "ktls"}) {
    if (table.has(key)) table.wrong(key, R"(only for TLS listeners; remove it or set protocol = "TLS")");
  }
}

std::vector<Forward> read_forward(TableReader& table, const Seen& seen) {
  if (!table.require("default_action", kActionExample)) return {};
  auto action = table.table("default_action", kActionExample);
  if (!action) return {};
  std::vector<Forward> forward;
  if (action->has_list("forward")) {
    forward = read_shares(*action, seen);
  } else {
    action->require("forward", "the name of a target group");
    if (const auto name = action->text("forward")) {
      expect_group(*action, "forward", *name, seen);
      forward.push_back({.target_group = name->value});
    }
  }
  action->finish();
  return forward;
}

std::vector<Forward> read_shares(TableReader& action, const Seen& seen) {
  std::vector<Forward> forward;
  std::vector<TableReader> named;  // of forward
  for (TableReader& share : action.list("forward", kShareExample)) {
    Forward read;
    share.require("target_group", "the name of a target group");
    share.require("weight", fmt::format("a whole number from 0 to {}", kWeightMax));
    read.weight = static_cast<std::uint32_t>(share.integer("weight", 0, kWeightMax).value_or(0));
    const auto name = share.text("target_group");
    share.finish();
    if (!name || !expect_group(share, "target_group", *name, seen)) continue;
    read.target_group = name->value;
    forward.push_back(std::move(read));
    named.push_back(share);
  }
  const auto protocol_of = [&](std::string_view group) { return seen.groups.find(group)->second; };
  for (ForwardMistake& mistake : check_forward(forward, protocol_of)) {
    if (mistake.at) {
      named[*mistake.at].wrong("target_group", std::move(mistake.what));
    } else {
      action.wrong("forward", std::move(mistake.what));
    }
  }
  return forward;
}

bool expect_group(TableReader& table, std::string_view key, const Text& name, const Seen& seen) {
  if (seen.groups.contains(name.value)) return true;
  std::vector<std::string_view> names;
  for (const auto& group : seen.groups) names.push_back(group.first);
  const std::string_view near = nearest(name.value, names);
  table.wrong(key, near.empty() ? fmt::format("no [[target_group]] is named {}", in_quotes(name.value))
                                : fmt::format("no [[target_group]] is named {}, did you mean {}?",
                                              in_quotes(name.value), in_quotes(near)));
  return false;
}

// The load balancer has lines of TLS listeners alone. Who asks for them, and has not said where they go,
// would wait for them in vain.
void read_listener_access_log(TableReader& table, const Seen& seen, Listener& listener) {
  const auto wanted = table.boolean("access_log");
  listener.access_log = wanted.value_or(listener.protocol == Protocol::kTls);
  if (wanted.value_or(false) && !seen.access_log)
    table.wrong("access_log", "true, but there is no [access_log] that says where to; add it or remove this");
}

void read_tcp(TableReader& table, Listener& listener) {
  auto tcp = table.table("tcp", R"({ idle_timeout = "350s" })");
  if (!tcp) return;
  listener.idle_timeout =
      tcp->duration("idle_timeout", kIdleTimeoutMin, kIdleTimeoutMax).value_or(listener.idle_timeout);
  tcp->finish();
}

void read_relay(TableReader& table, Listener& listener) {
  const auto relay = table.choice<Relay>("relay", {{"auto", Relay::kAuto},
                                                   {"splice", Relay::kSplice},
                                                   {"uring-splice", Relay::kUringSplice},
                                                   {"copy", Relay::kCopy}});
  listener.relay = relay.value_or(listener.relay);
  auto thresholds = table.table("relay_thresholds", R"({ splice_from = "64KiB", copy_below = "16KiB" })");
  if (!thresholds) return;
  if (relay && listener.relay != Relay::kAuto) {
    table.wrong("relay_thresholds", R"(only with relay = "auto"; remove it)");
  }
  listener.splice_from = static_cast<std::uint32_t>(
      thresholds->size("splice_from", 1, kSpliceFromMax).value_or(listener.splice_from));
  listener.copy_below = static_cast<std::uint32_t>(
      thresholds->size("copy_below", 0, kCopyBelowMax).value_or(listener.copy_below));
  thresholds->finish();
}

// It is about a TLS peer, which a TCP listener has only if its targets speak TLS.
void read_on_truncation(TableReader& table, std::optional<Protocol> protocol, const Seen& seen,
                        Listener& listener) {
  const auto choice = table.choice<OnTruncation>(
      "on_truncation", {{"reset", OnTruncation::kReset}, {"fin", OnTruncation::kFin}});
  listener.on_truncation = choice.value_or(listener.on_truncation);
  const auto group =
      listener.forward.empty() ? seen.groups.end() : seen.groups.find(listener.forward.front().target_group);
  const bool plain =
      protocol == Protocol::kTcp && group != seen.groups.end() && group->second == Protocol::kTcp;
  if (choice && plain) {
    table.wrong("on_truncation", "only where the listener or its target group is TLS; remove it");
  }
}

}  // namespace
}  // namespace tlsplice::policy
