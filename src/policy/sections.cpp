// The top of the configuration, [log], [access_log], [metrics] and the target groups, with the limits of
// their values; listeners have a file of their own. A value that is wrong leaves the default in its place and
// a Mistake behind.
#include "sections.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "tlsplice/policy/host_port.hpp"
#include "tlsplice/policy/words.hpp"

namespace tlsplice::policy {
namespace {

// A worker is a process with a ring and a listening socket per listener; more than one a CPU gains nothing,
// and no machine we know of has more CPUs.
constexpr std::int64_t kWorkersMax = 1024;
// Ten million flows are twenty million descriptors, some 20 GiB of kernel socket memory before the first
// byte.
constexpr std::int64_t kMaxFlowsMax = 10'000'000;
// The upper end is the bound of RFC 8446 section 5.5 for AES-GCM, 2^24.5 records; the lower one keeps a flow
// from doing little else.
constexpr std::int64_t kKeyUpdateAfterMin = 64;
constexpr std::int64_t kKeyUpdateAfterMax = 23'726'566;
constexpr std::size_t kNameMax = 32;  // the load balancer's limit
constexpr std::size_t kBpfDirectoryMax = 256;
constexpr std::size_t kLoadBalancerMax = 128;
constexpr std::size_t kSocketPathMax = 107;  // of sockaddr_un, without the zero
constexpr std::size_t kUserMax = 32;  // useradd(8): LOGIN_NAME_MAX of Linux is far larger, user names are not
constexpr Milliseconds kConnectTimeoutMin{1};
constexpr Milliseconds kConnectTimeoutMax{3'600'000};
constexpr Milliseconds kDrainTimeoutMax{24 * 3'600'000};  // 0 is allowed: cut at once

constexpr const char* kTargetsExample = R"(["192.0.2.1:8080", "[2001:db8::1]:8080", "app.internal:8080"])";
constexpr const char* kTlvsExample = R"(["authority", "ssl", "alpn"])";

std::vector<HostPort> read_targets(TableReader& table);
ProxyProtocol read_proxy_protocol(TableReader& table);
bool read_preserve_client_ip(TableReader& table);
bool is_name(std::string_view name);
bool is_user(std::string_view user);
bool is_bpf_directory(std::string_view path);
bool is_load_balancer(std::string_view name);

}  // namespace

void read_top(TableReader& file, Config& config) {
  if (const auto workers = file.integer("workers", 1, kWorkersMax)) {
    config.workers = static_cast<std::uint32_t>(*workers);
  }
  if (auto user = file.text("user")) {
    if (!is_user(user->value))
      file.wrong("user", in_quotes(user->value) + " is no user name, expected one such as \"nobody\"");
    config.user = std::move(user->value);
  }
  if (const auto flows = file.integer("max_flows", 1, kMaxFlowsMax)) {
    config.max_flows = static_cast<std::uint32_t>(*flows);
  }
  if (const auto records = file.integer("key_update_after", kKeyUpdateAfterMin, kKeyUpdateAfterMax)) {
    config.key_update_after = static_cast<std::uint32_t>(*records);
  }
  config.drain_timeout =
      file.duration("drain_timeout", Milliseconds{0}, kDrainTimeoutMax).value_or(config.drain_timeout);
  config.steering = file.choice<Steering>("steering", {{"least-loaded", Steering::kLeastLoaded},
                                                       {"cpu", Steering::kCpu},
                                                       {"hash", Steering::kHash}})
                        .value_or(config.steering);
  if (auto directory = file.text("bpf_directory")) {
    if (!is_bpf_directory(directory->value))
      file.wrong("bpf_directory", in_quotes(directory->value) +
                                      " is no directory of bpffs, expected one such as " +
                                      in_quotes(kDefaultBpfDirectory));
    config.bpf_directory = std::move(directory->value);
  }
}

void read_log(TableReader& file, LogSettings& log) {
  auto table = file.table("log", R"(a table headed [log])");
  if (!table) return;
  using base::LogFormat;
  using base::LogLevel;
  log.level = table
                  ->choice<LogLevel>("level", {{"error", LogLevel::kError},
                                               {"warning", LogLevel::kWarning},
                                               {"info", LogLevel::kInfo},
                                               {"debug", LogLevel::kDebug}})
                  .value_or(log.level);
  log.format =
      table->choice<LogFormat>("format", {{"logfmt", LogFormat::kLogfmt}, {"json", LogFormat::kJson}})
          .value_or(log.format);
  table->finish();
}

void read_access_log(TableReader& file, const std::filesystem::path& folder, AccessLogSettings& access_log) {
  auto table = file.table("access_log", R"(a table headed [access_log])");
  if (!table) return;
  table->require("file", R"(a path such as "/var/log/tlsplice/access.log", or "stdout", or "off")");
  if (const auto place = table->text("file")) {
    if (place->value.empty() || place->value.ends_with('/') || place->value.contains('\0')) {
      table->wrong("file", in_quotes(place->value) +
                               " is no place for a log, expected a path such as "
                               R"("/var/log/tlsplice/access.log", or "stdout", or "off")");
    }
    const bool is_path = place->value != "stdout" && place->value != "off";
    access_log.file = is_path ? (folder / place->value).string() : place->value;
    if (place->value == "off") access_log.file.clear();
  }
  access_log.format = table
                          ->choice<AccessLogFormat>("format", {{"1.0", AccessLogFormat::kVersion1},
                                                               {"2.0", AccessLogFormat::kVersion2},
                                                               {"json", AccessLogFormat::kJson}})
                          .value_or(access_log.format);
  if (auto name = table->text("load_balancer")) {
    if (!is_load_balancer(name->value)) {
      table->wrong("load_balancer", in_quotes(name->value) +
                                        " is no load balancer's id, expected 1 to 128 letters, digits and "
                                        R"(-._:/ such as "net/my-load-balancer/50dc6c495c0c9188")");
    }
    access_log.load_balancer = std::move(name->value);
  }
  table->finish();
}

void read_admin(TableReader& file, AdminSettings& admin) {
  auto table = file.table("admin", R"(a table headed [admin])");
  if (!table) return;
  if (auto socket = table->text("socket")) {
    const bool off = socket->value == "off";
    if (!off && (!socket->value.starts_with('/') || socket->value.size() > kSocketPathMax)) {
      table->wrong(
          "socket",
          fmt::format(
              "{} is no place for a socket, expected an absolute path of at most {} bytes such as {}, "
              "or \"off\"",
              in_quotes(socket->value), kSocketPathMax, in_quotes(kDefaultAdminSocket)));
    }
    admin.socket = off ? std::string() : std::move(socket->value);
    admin.is_default = false;
  }
  table->finish();
}

void read_metrics(TableReader& file, MetricsSettings& metrics, Seen& seen) {
  auto table = file.table("metrics", R"(a table headed [metrics])");
  if (!table) return;
  if (const auto text = table->text("address")) {
    metrics.is_default = false;
    metrics.address.reset();
    if (text->value != "off") {
      const auto address = parse_host_port(text->value);
      if (address) {
        metrics.address = *address;
        seen.address_lines.emplace(to_string(*address), text->place.line);
      } else {
        table->wrong("address", address.error() + R"(, or "off")");
      }
    }
  }
  table->finish();
}

TargetGroup read_target_group(TableReader table, Seen& seen) {
  TargetGroup group;
  group.place = table.place();
  group.name = read_name(table, "app", seen.group_lines);
  const auto protocol =
      table.choice<Protocol>("protocol", {{"TCP", Protocol::kTcp}, {"TLS", Protocol::kTls}});
  table.require("protocol", R"("TCP" or "TLS")");
  group.protocol = protocol.value_or(group.protocol);
  if (!group.name.empty()) seen.groups.emplace(group.name, protocol);
  group.targets = read_targets(table);
  group.connect_timeout = table.duration("connect_timeout", kConnectTimeoutMin, kConnectTimeoutMax)
                              .value_or(group.connect_timeout);
  if (protocol == Protocol::kTcp && table.has("ktls")) {
    table.wrong("ktls", R"(only for TLS target groups; remove it or set protocol = "TLS")");
  } else {
    group.ktls = read_ktls(table);
  }
  group.proxy_protocol_v2 = read_proxy_protocol(table);
  group.preserve_client_ip = read_preserve_client_ip(table);
  read_health(table, group);
  group.deregistration_delay = read_deregistration_delay(table);
  group.unhealthy = read_target_health_state(table);
  group.stickiness = read_stickiness(table, protocol);
  table.finish();
  return group;
}

Ktls read_ktls(TableReader& table) {
  return table.choice<Ktls>("ktls", {{"auto", Ktls::kAuto}, {"require", Ktls::kRequire}, {"off", Ktls::kOff}})
      .value_or(Ktls::kAuto);
}

std::string read_name(TableReader& table, std::string_view example,
                      std::map<std::string, std::uint32_t, std::less<>>& lines) {
  if (!table.require("name", fmt::format("one such as {}", in_quotes(example)))) return {};
  auto name = table.text("name");
  if (!name) return {};
  if (!is_name(name->value)) {
    table.wrong("name",
                in_quotes(name->value) +
                    " is no name, expected 1 to 32 letters, digits and hyphens, no hyphen at either end");
    return {};
  }
  const auto [entry, fresh] = lines.emplace(name->value, name->place.line);
  if (!fresh) {
    table.wrong("name", fmt::format("{} is taken by line {}, expected another name", in_quotes(name->value),
                                    entry->second));
  }
  return std::move(name->value);
}

namespace {

std::vector<HostPort> read_targets(TableReader& table) {
  std::vector<HostPort> out;
  if (!table.require("targets", kTargetsExample)) return out;
  std::map<std::string, Place> places;
  for (const Text& target : table.texts_or_none("targets", kTargetsExample)) {
    const auto address = parse_target(target.value);
    if (!address) {
      table.wrong_at(target.place, "targets", address.error());
    } else if (const auto [entry, fresh] = places.emplace(to_string(*address), target.place); !fresh) {
      const Place first = entry->second;
      table.wrong_at(target.place, "targets",
                     fmt::format("{} is in the list already, at {}:{}; expected each target once",
                                 in_quotes(target.value), first.line, first.column));
    } else {
      out.push_back(*address);
    }
  }
  if (out.size() > kTargetsOfAGroupMax) {
    table.wrong("targets", fmt::format("{} are too many, expected at most {}: make two groups and forward to "
                                       "both, with weights",
                                       out.size(), kTargetsOfAGroupMax));
  }
  return out;
}

// Nested as the load balancer's key is: proxy_protocol_v2.client_to_server.header_placement. What it has no
// key for is in `tlvs`.
ProxyProtocol read_proxy_protocol(TableReader& table) {
  ProxyProtocol header;
  auto keys = table.table("proxy_protocol_v2", "{ enabled = true }");
  if (!keys) return header;
  keys->require("enabled", "true or false");
  header.enabled = keys->boolean("enabled").value_or(header.enabled);
  if (auto way = keys->table("client_to_server", R"({ header_placement = "on_first_ack" })")) {
    header.placement =
        way->choice<HeaderPlacement>("header_placement",
                                     {{"on_first_ack_with_payload", HeaderPlacement::kOnFirstAckWithPayload},
                                      {"on_first_ack", HeaderPlacement::kOnFirstAck}})
            .value_or(header.placement);
    way->finish();
  }
  for (const Text& tlv : keys->texts("tlvs", kTlvsExample)) {
    bool* const flag = tlv.value == "authority" ? &header.authority
                       : tlv.value == "ssl"     ? &header.ssl
                       : tlv.value == "alpn"    ? &header.alpn
                                                : nullptr;
    if (flag == nullptr) {
      keys->wrong_at(tlv.place, "tlvs",
                     in_quotes(tlv.value) + R"( is unknown, expected "authority", "ssl" or "alpn")");
    } else if (std::exchange(*flag, true)) {
      keys->wrong_at(tlv.place, "tlvs", in_quotes(tlv.value) + " is in the list already, expected it once");
    }
  }
  keys->finish();
  return header;
}

// The load balancer's attribute preserve_client_ip.enabled; false is its default for targets by IP address.
bool read_preserve_client_ip(TableReader& table) {
  auto keys = table.table("preserve_client_ip", "{ enabled = true }");
  if (!keys) return false;
  keys->require("enabled", "true or false");
  const bool enabled = keys->boolean("enabled").value_or(false);
  keys->finish();
  return enabled;
}

bool is_name(std::string_view name) {
  const auto letter_or_digit = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  if (name.empty() || name.size() > kNameMax || name.starts_with('-') || name.ends_with('-')) return false;
  return std::ranges::all_of(name, [&](char c) { return letter_or_digit(c) || c == '-'; });
}

// Whether there is such a user is known when the workers start; here only what can never be one is refused.
bool is_user(std::string_view user) {
  if (user.empty() || user.size() > kUserMax) return false;
  return std::ranges::all_of(user, [](char c) { return c > ' ' && c < 0x7f && c != ':' && c != '/'; });
}

// bpffs takes no name with a dot. Whether there is a bpffs is known at the start.
bool is_bpf_directory(std::string_view path) {
  return path.size() > 1 && path.size() <= kBpfDirectoryMax && path.front() == '/' && path.back() != '/' &&
         path.substr(path.rfind('/')).find('.') == std::string_view::npos;
}

bool is_load_balancer(std::string_view name) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("-._:/").contains(c);
  };
  return !name.empty() && name.size() <= kLoadBalancerMax && name != "-" && std::ranges::all_of(name, fits);
}

}  // namespace
}  // namespace tlsplice::policy
