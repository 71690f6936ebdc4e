// The tables of the configuration, one function each. Groups are read before listeners whatever their order
// in the file, because a listener names a group; mistakes are sorted by their place at the end.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "table_reader.hpp"

namespace tlsplice::policy {

/// What later tables must know about earlier ones, kept also for those that have mistakes: a group with a
/// wrong target is still there to be named, and one mistake does not become two.
struct Seen {
  std::map<std::string, std::optional<Protocol>, std::less<>> groups;  // nullopt: its protocol is a mistake
  std::map<std::string, std::uint32_t, std::less<>> group_lines;
  std::map<std::string, std::uint32_t, std::less<>> listener_lines;
  std::map<std::string, std::uint32_t, std::less<>> address_lines;
  bool access_log = false;  // the file says where it is, or that there is none
};

void read_top(TableReader& file, Config& config);
void read_log(TableReader& file, LogSettings& log);
/// `folder` is where a relative path begins.
void read_access_log(TableReader& file, const std::filesystem::path& folder, AccessLogSettings& access_log);
void read_admin(TableReader& file, AdminSettings& admin);
/// Before the listeners, which then cannot have its address.
void read_metrics(TableReader& file, MetricsSettings& metrics, Seen& seen);
TargetGroup read_target_group(TableReader table, Seen& seen);
/// The keys `health_check` and `target_group_health` of a group.
void read_health(TableReader& table, TargetGroup& group);
/// `folder` is where relative certificate paths begin.
Listener read_listener(TableReader table, const std::filesystem::path& folder, Seen& seen);

/// The attributes of a target group that say what becomes of flows, and whether clients stick to a target.
DeregistrationDelay read_deregistration_delay(TableReader& group);
UnhealthyState read_target_health_state(TableReader& group);
bool read_stickiness(TableReader& group, std::optional<Protocol> protocol);

/// Whose connections with a listener begin with the PROXY protocol's header (its key `proxy_protocol`).
std::vector<Network> read_accept_from(TableReader& listener);

/// The key `ktls` of a listener or group.
Ktls read_ktls(TableReader& table);

/// The name of a group or listener, checked and entered in `lines`; empty when missing or wrong.
std::string read_name(TableReader& table, std::string_view example,
                      std::map<std::string, std::uint32_t, std::less<>>& lines);

}  // namespace tlsplice::policy
