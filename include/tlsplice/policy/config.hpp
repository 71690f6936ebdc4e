// The configuration as plain values: they copy, compare, and need no process. Filled by read_config (TOML),
// checked as a whole before anything starts, immutable afterwards. Names follow the load balancer's (spec:
// tls-listener, nlb-facts).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tlsplice/base/clock.hpp"
#include "tlsplice/base/log.hpp"
#include "tlsplice/base/result.hpp"
#include "tlsplice/policy/alpn_policies.hpp"

namespace tlsplice::policy {

using base::Milliseconds;

/// The policy of a listener that names none, and of every connection to a TLS target.
inline constexpr const char* kDefaultSslPolicy = "ELBSecurityPolicy-2016-08";
inline constexpr Milliseconds kDefaultIdleTimeout{350'000};  // the load balancer's fixed TCP idle timeout
inline constexpr Milliseconds kDefaultHandshakeTimeout{10'000};
inline constexpr Milliseconds kDefaultConnectTimeout{10'000};
inline constexpr Milliseconds kDefaultDrainTimeout{30'000};
inline constexpr Milliseconds kDefaultCheckInterval{30'000};  // the load balancer's, as are the next three
inline constexpr Milliseconds kDefaultCheckTimeout{10'000};   // of TCP and HTTPS checks
inline constexpr Milliseconds kDefaultHttpCheckTimeout{6'000};
inline constexpr std::uint32_t kDefaultCheckThreshold = 3;
inline constexpr std::size_t kTargetsOfAGroupMax = 1024;  // the load balancer's quota is 1000
inline constexpr Milliseconds kDefaultDeregistrationDelay{300'000};
inline constexpr Milliseconds kDeregistrationDelayMax{3'600'000};  // the load balancer's, as the next one
inline constexpr Milliseconds kDrainingIntervalMax{360'000'000};
inline constexpr const char* kDefaultAdminSocket = "/run/tlsplice/admin.sock";
inline constexpr const char* kDefaultBpfDirectory = "/sys/fs/bpf/tlsplice";
inline constexpr std::uint16_t kDefaultMetricsPort = 9464;  // Prometheus exporters': one that is free there
inline constexpr std::uint32_t kDefaultMaxFlows = 100'000;
inline constexpr std::uint32_t kDefaultSpliceFrom = 64 * 1024;
inline constexpr std::uint32_t kDefaultCopyBelow = 16 * 1024;
/// A little below the bound of RFC 8446 section 5.5, which is 2^24.5 records.
inline constexpr std::uint32_t kDefaultKeyUpdateAfter = 1 << 24;

/// Where in the file something stands; 1-based, 0 when it stands nowhere.
struct Place {
  std::uint32_t line = 0;
  std::uint32_t column = 0;
  bool operator==(const Place&) const = default;
};

/// An IP address and a port as text that was checked: "192.0.2.1", "2001:db8::1" (without brackets). The host
/// of a target may also be a name in small letters ("app.internal", see is_host_name) until the master puts
/// the name's addresses in its place: what a generation serves has none.
struct HostPort {
  std::string host;
  std::uint16_t port = 0;
  bool operator==(const HostPort&) const = default;
};
/// "192.0.2.1:443", "[2001:db8::1]:443"
std::string to_string(const HostPort& address);

/// A block of addresses as text that was checked.
struct Network {
  std::string host;         // its first address
  std::uint8_t prefix = 0;  // how many bits all have in common
  bool operator==(const Network&) const = default;
};
/// "10.0.0.0/8", "2001:db8::/32"
std::string to_string(const Network& network);

enum class Protocol : std::uint8_t { kTcp, kTls };
const char* to_string(Protocol protocol);  // "TCP", "TLS"

/// Whether TLS connections move into the kernel once their handshake is done. kRequire: a flow that cannot is
/// refused.
enum class Ktls : std::uint8_t { kAuto, kRequire, kOff };

/// Which worker a new connection goes to: the one with the fewest flows, the one of the CPU that received it,
/// or one by the hash of addresses and ports.
enum class Steering : std::uint8_t { kLeastLoaded, kCpu, kHash };
const char* to_string(Steering steering);  // "least-loaded", "cpu", "hash"

/// When a TCP group's targets are told of the client: with its first bytes, or as soon as they are connected.
/// Those of a TLS group are told in front of our hello either way.
enum class HeaderPlacement : std::uint8_t { kOnFirstAckWithPayload, kOnFirstAck };

/// The load balancer's attribute of a target group: each connection to a target begins with a header that
/// names the client.
struct ProxyProtocol {
  bool enabled = false;
  HeaderPlacement placement = HeaderPlacement::kOnFirstAckWithPayload;
  bool authority = false;  // the server name goes into the header
  bool ssl = false;        // the protocol and cipher of the client's TLS do
  bool alpn = false;       // the application protocol that was agreed on with the client does
  bool operator==(const ProxyProtocol&) const = default;
};

enum class CheckProtocol : std::uint8_t { kTcp, kHttp, kHttps };
const char* to_string(CheckProtocol protocol);  // "TCP", "HTTP", "HTTPS"

/// Status codes of HTTP, both ends included.
struct CodeRange {
  std::uint16_t first = 0;
  std::uint16_t last = 0;
  bool operator==(const CodeRange&) const = default;
};
/// "200-299,302"
std::string to_string(const std::vector<CodeRange>& codes);

/// How a group's targets are asked whether they are well.
struct HealthCheck {
  bool enabled = true;
  CheckProtocol protocol = CheckProtocol::kTcp;
  std::optional<std::uint16_t> port = {};         // nullopt: "traffic-port", the target's own
  std::string path = "/";                         // of HTTP and HTTPS, as are the codes
  std::vector<CodeRange> matcher = {{200, 399}};  // what a healthy target answers
  Milliseconds interval = kDefaultCheckInterval;  // from the beginning of a check to that of the next
  Milliseconds timeout = kDefaultCheckTimeout;    // at most the interval
  std::uint32_t healthy_threshold = kDefaultCheckThreshold;    // passed checks in a row
  std::uint32_t unhealthy_threshold = kDefaultCheckThreshold;  // failed ones
  bool operator==(const HealthCheck&) const = default;
};

/// With fewer healthy targets than either says, all of a group's targets are used.
struct MinimumHealthyTargets {
  std::uint32_t count = 1;
  std::uint32_t percentage = 0;  // of the registered ones; 0: "off"
  bool operator==(const MinimumHealthyTargets&) const = default;
};

/// What becomes of the flows of a target that was deregistered: they may go on for `timeout`; then those of a
/// healthy target go on still, or, with connection_termination, are ended.
struct DeregistrationDelay {
  Milliseconds timeout = kDefaultDeregistrationDelay;  // whole seconds
  bool connection_termination = false;
  bool operator==(const DeregistrationDelay&) const = default;
};

/// What becomes of the flows of a target that turns unhealthy (target_health_state.unhealthy).
struct UnhealthyState {
  bool connection_termination = true;
  // Whole seconds, not 0 only without connection_termination: so long it is unhealthy.draining and keeps its
  // flows; then they are ended after all.
  Milliseconds draining_interval{0};
  bool operator==(const UnhealthyState&) const = default;
};

struct TargetGroup {
  std::string name;
  Protocol protocol =
      Protocol::kTcp;  // kTls: re-encrypted under kDefaultSslPolicy, certificate not validated
  std::vector<HostPort> targets = {};  // kTargetsOfAGroupMax at most; without one its flows are refused
  HealthCheck health_check = {};
  MinimumHealthyTargets minimum_healthy_targets = {};  // of target_group_health.unhealthy_state_routing
  Milliseconds connect_timeout = kDefaultConnectTimeout;
  Ktls ktls = Ktls::kAuto;  // of the connections to its targets; kTls only
  ProxyProtocol proxy_protocol_v2 = {};
  bool preserve_client_ip = false;  // targets see the client's address, not this host's
  DeregistrationDelay deregistration_delay = {};
  UnhealthyState unhealthy = {};
  bool stickiness = false;  // by source_ip: TCP groups of TCP listeners only
  Place place = {};
};

/// Which keys a certificate may have. kDocument: RSA up to 2048 bits, no EC keys, as the load balancer had
/// it.
enum class CertificateKeys : std::uint8_t { kDocument, kAny };

struct Certificate {
  std::filesystem::path chain;  // PEM: the certificate, then its intermediates
  std::filesystem::path key;    // PEM
  Place place;
};

/// What a target sees when a TLS peer ends with a FIN that no close_notify announced.
enum class OnTruncation : std::uint8_t { kReset, kFin };

/// How the bytes of a flow move; see relay::Mode.
enum class Relay : std::uint8_t { kAuto, kSplice, kUringSplice, kCopy };

/// A share of a listener's flows.
struct Forward {
  std::string target_group;
  std::uint32_t weight = 1;  // 0 to 999; 0: no flow
  bool operator==(const Forward&) const = default;
};

struct Listener {
  std::string name;
  Protocol protocol = Protocol::kTls;
  HostPort address;
  Certificate certificate;  // TLS only
  CertificateKeys certificate_keys = CertificateKeys::kDocument;
  std::string ssl_policy = kDefaultSslPolicy;
  AlpnPolicy alpn_policy = AlpnPolicy::kNone;
  std::vector<Forward> forward;  // 1 to 5 groups of one protocol, each once
  // Also of a proxy's header in front.
  Milliseconds handshake_timeout = kDefaultHandshakeTimeout;
  Milliseconds idle_timeout = kDefaultIdleTimeout;
  OnTruncation on_truncation = OnTruncation::kReset;
  Ktls ktls = Ktls::kAuto;  // of the connections with clients; kTls only
  Relay relay = Relay::kAuto;
  bool access_log = true;                          // its connections have lines there; TCP: only if asked for
  std::vector<Network> proxy_protocol_from;        // whose connections begin with the PROXY protocol's header
  std::uint32_t splice_from = kDefaultSpliceFrom;  // bytes; with Relay::kAuto
  std::uint32_t copy_below = kDefaultCopyBelow;
  Place place;
  Place ssl_policy_place;
};

struct LogSettings {
  base::LogLevel level = base::LogLevel::kInfo;
  base::LogFormat format = base::LogFormat::kLogfmt;
};

enum class AccessLogFormat : std::uint8_t { kVersion1, kVersion2, kJson };

/// Of the connections with listeners that have lines there.
struct AccessLogSettings {
  std::string file;                                     // a path, or "stdout"; empty: none
  AccessLogFormat format = AccessLogFormat::kVersion1;  // the document's
  std::string load_balancer;                            // the line's field `elb`; empty: see load_balancer_of
};

struct AdminSettings {
  std::string socket = kDefaultAdminSocket;  // absolute; empty: none
  bool is_default = true;                    // and may then be missing
};

/// Where the monitor process answers over HTTP.
struct MetricsSettings {
  std::optional<HostPort> address = HostPort{"127.0.0.1", kDefaultMetricsPort};  // nullopt: "off"
  bool is_default = true;                                                        // and may then be taken
};

struct Config {
  std::filesystem::path file;
  std::uint32_t workers = 0;  // 0: one per CPU
  std::string user;  // workers run as this user; empty: "nobody" when started by root, else unchanged
  std::uint32_t max_flows = kDefaultMaxFlows;  // over all workers
  Milliseconds drain_timeout = kDefaultDrainTimeout;
  std::uint32_t key_update_after =
      kDefaultKeyUpdateAfter;  // records sent under one AES-GCM key in the kernel
  Steering steering = Steering::kLeastLoaded;
  std::string bpf_directory = kDefaultBpfDirectory;  // where the numbers are pinned; absolute
  LogSettings log;
  AccessLogSettings access_log;
  AdminSettings admin;
  MetricsSettings metrics;
  std::vector<TargetGroup> target_groups;
  std::vector<Listener> listeners;

  /// The group of that name, or null. Valid while the Config is neither changed nor moved.
  const TargetGroup* target_group(std::string_view name) const;
};

/// The id of the load balancer, "net/my-load-balancer/50dc6c495c0c9188": what the access log is told, or one
/// made of this host's name.
std::string load_balancer_of(const Config& config);

/// One mistake, for people: "quickstart.toml:12:1: listener.ssl_polcy: unknown key, did you mean ssl_policy?"
struct Mistake {
  Place place;
  std::string key;   // dotted path, e.g. "listener.certificate.chain"; empty when none applies
  std::string what;  // what is wrong, what would be right
};
std::string to_string(const std::filesystem::path& file, const Mistake& mistake);

/// What is wrong between listeners and the groups they forward to, though each is right by itself. What
/// read_config accepts has nothing of it; for those who change a Config afterwards.
std::vector<Mistake> cross_check(const Config& config);

/// Reads and checks the whole file. On failure: every mistake found, in the order of the file. Relative
/// certificate paths are resolved against the folder of the file; nothing but the file itself is opened.
std::expected<Config, std::vector<Mistake>> read_config(const std::filesystem::path& file);

/// The same from text; `file` is used for paths and messages only. What the fuzzer and the tests call.
std::expected<Config, std::vector<Mistake>> parse_config(std::string_view text,
                                                         const std::filesystem::path& file);

}  // namespace tlsplice::policy
