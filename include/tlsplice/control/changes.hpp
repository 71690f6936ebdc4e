// What people changed at run time, on top of the configuration's file: plain values. They are kept beside it
// as JSON (<file>.changes.json), so that they are still there after a restart, and so that anyone can read
// what is not as the file says. The file itself is its owner's and never written.
//
//   {"listeners": {"web": {"ssl_policy": "...", "alpn_policy": "...", "certificate": {"chain": "...", ...},
//                          "default_action": {"forward": [{"target_group": "app", "weight": 90}, ...]}}},
//    "target_groups": {"app": {"registered": ["192.0.2.1:8080"], "deregistered": ["192.0.2.2:8080"],
//                              "attributes": {"deregistration_delay.timeout_seconds": "30"}}}}
#pragma once

#include <expected>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tlsplice/base/result.hpp"
#include "tlsplice/policy/config.hpp"

namespace tlsplice::control {

struct ListenerChange {
  struct Certificate {
    std::string chain;  // absolute paths
    std::string key;
    bool operator==(const Certificate&) const = default;
  };
  std::optional<std::string> ssl_policy;
  std::optional<std::string> alpn_policy = {};
  std::optional<Certificate> certificate;
  std::optional<std::vector<policy::Forward>> forward;  // in JSON also "app"
  bool operator==(const ListenerChange&) const = default;
};

struct TargetGroupChange {
  std::vector<policy::HostPort> registered;       // none of them in the file
  std::vector<policy::HostPort> deregistered;     // all of them in the file
  std::map<std::string, std::string> attributes;  // by the load balancer's keys
  bool operator==(const TargetGroupChange&) const = default;
};

struct Changes {
  std::map<std::string, ListenerChange> listeners;
  std::map<std::string, TargetGroupChange> target_groups;
  bool empty() const { return listeners.empty() && target_groups.empty(); }
  bool operator==(const Changes&) const = default;
};

/// Why something cannot be as it was asked for.
struct Objection {
  std::string code;  // the load balancer's: "ListenerNotFound"
  std::string key;   // where in the changes: "listeners.web.ssl_policy"; empty when nowhere
  std::string what;  // what is wrong, what would be right
};
std::string to_string(const Objection& objection);
using Objections = std::vector<Objection>;

/// The configuration with the changes, or all that speaks against it.
std::expected<policy::Config, Objections> apply(policy::Config file, const Changes& changes);

/// Leaves what makes a difference to the file: what it says already goes, and what is about a listener or
/// target group that it no longer has. Of the latter a line each, for people.
std::vector<std::string> prune(Changes& changes, const policy::Config& file);

/// A line each, for people: `listener web: ssl_policy is "...", not "..."`.
std::vector<std::string> tell(const Changes& changes, const policy::Config& file);

/// From text, which may be hostile, and to it.
std::expected<Changes, Objections> parse_changes(std::string_view text);
std::string format_changes(const Changes& changes);

/// Where the changes of a configuration are kept.
std::filesystem::path changes_file(const std::filesystem::path& config);

/// None when there is no such file.
std::expected<Changes, Objections> read_changes(const std::filesystem::path& file);

/// The new text of a file, safely on the disk under another name until commit() gives it its own; without, it
/// is gone. No changes means no file; where the file says the same already, nothing is done to it.
class StagedChanges {
 public:
  static base::Result<StagedChanges> write(const std::filesystem::path& file, const Changes& changes);
  StagedChanges(StagedChanges&& other) noexcept
      : file_(std::move(other.file_)), staged_(std::exchange(other.staged_, {})) {}
  StagedChanges& operator=(StagedChanges&&) = delete;
  StagedChanges(const StagedChanges&) = delete;
  StagedChanges& operator=(const StagedChanges&) = delete;
  ~StagedChanges();
  base::Result<void> commit();

 private:
  StagedChanges(std::string file, std::string staged) : file_(std::move(file)), staged_(std::move(staged)) {}
  std::string file_;    // empty: it is as it should be
  std::string staged_;  // empty: nothing is there
};

}  // namespace tlsplice::control
