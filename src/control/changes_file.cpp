// Changes as JSON, and their file. Written as a whole or not at all: under another name, to the disk, then
// renamed.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "edit.hpp"
#include "json_reader.hpp"
#include "tlsplice/base/fd.hpp"
#include "tlsplice/control/changes.hpp"
#include "tlsplice/policy/host_port.hpp"
#include "tlsplice/policy/words.hpp"

namespace tlsplice::control {
namespace {

using base::Error;
using base::Result;
using nlohmann::ordered_json;

constexpr std::size_t kFileMax = 1 << 20;  // as the configuration's
constexpr mode_t kMode = 0644;             // paths and names: no secrets

/// As people write it in the configuration: a single group by its name.
ordered_json json_of(const std::vector<policy::Forward>& forward) {
  if (forward.size() == 1 && forward.front() == policy::Forward{.target_group = forward.front().target_group})
    return forward.front().target_group;
  ordered_json shares = ordered_json::array();
  for (const auto& [group, weight] : forward) shares.push_back({{"target_group", group}, {"weight", weight}});
  return shares;
}

ListenerChange read_listener(JsonReader reader);
TargetGroupChange read_target_group(JsonReader reader);
std::expected<std::string, Error> read_text(const std::filesystem::path& file);
Result<void> write_text(const std::string& file, std::string_view text);

}  // namespace

std::expected<Changes, Objections> parse_changes(std::string_view text) {
  Objections objections;
  Changes changes;
  if (text.size() > kFileMax)
    return std::unexpected(Objections{{"ValidationError", "", "larger than 1 MiB"}});
  const auto json = parse_object(text, objections);
  if (!json) return std::unexpected(std::move(objections));
  JsonReader root(*json, "", objections);
  for (auto& [name, reader] : root.objects_by_name("listeners"))
    changes.listeners.emplace(name, read_listener(std::move(reader)));
  for (auto& [name, reader] : root.objects_by_name("target_groups"))
    changes.target_groups.emplace(name, read_target_group(std::move(reader)));
  root.finish();
  if (!objections.empty()) return std::unexpected(std::move(objections));
  return changes;
}

std::string format_changes(const Changes& changes) {
  ordered_json listeners = ordered_json::object();
  for (const auto& [name, change] : changes.listeners) {
    ordered_json& out = listeners[name] = ordered_json::object();
    if (change.ssl_policy) out["ssl_policy"] = *change.ssl_policy;
    if (change.alpn_policy) out["alpn_policy"] = *change.alpn_policy;
    if (change.certificate)
      out["certificate"] = {{"chain", change.certificate->chain}, {"key", change.certificate->key}};
    if (change.forward) out["default_action"] = {{"forward", json_of(*change.forward)}};
  }
  ordered_json groups = ordered_json::object();
  for (const auto& [name, change] : changes.target_groups) {
    ordered_json& out = groups[name] = ordered_json::object();
    for (const policy::HostPort& target : change.registered) out["registered"].push_back(to_string(target));
    for (const policy::HostPort& target : change.deregistered)
      out["deregistered"].push_back(to_string(target));
    for (const auto& [key, value] : change.attributes) out["attributes"][key] = value;
  }
  const ordered_json all = {{"listeners", std::move(listeners)}, {"target_groups", std::move(groups)}};
  return all.dump(4, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::filesystem::path changes_file(const std::filesystem::path& config) {
  return config.string() + ".changes.json";
}

std::expected<Changes, Objections> read_changes(const std::filesystem::path& file) {
  const auto text = read_text(file);
  if (text) return parse_changes(*text);
  if (text.error().errnum == ENOENT || text.error().errnum == ENOTDIR) return Changes{};
  return std::unexpected(Objections{{"ValidationError", "", text.error().text()}});
}

Result<StagedChanges> StagedChanges::write(const std::filesystem::path& file, const Changes& changes) {
  // A folder that cannot be written to is no obstacle to a reload that changes nothing in it.
  if (const auto there = read_changes(file); there && *there == changes) return StagedChanges("", "");
  if (changes.empty()) return StagedChanges(file.string(), "");
  const std::string text = format_changes(changes);
  if (text.size() > kFileMax) return base::fail(Error::invalid("these would be more than 1 MiB of changes"));
  StagedChanges staged(file.string(), file.string() + ".new");
  if (auto written = write_text(staged.staged_, text); !written)
    return base::fail(std::move(written.error()));
  return staged;
}

StagedChanges::~StagedChanges() {
  if (!staged_.empty()) ::unlink(staged_.c_str());
}

Result<void> StagedChanges::commit() {
  if (file_.empty()) return {};
  if (staged_.empty()) {
    if (::unlink(file_.c_str()) == 0 || errno == ENOENT) return {};
    return base::fail(Error::system(fmt::format("remove {}", file_), errno));
  }
  if (::rename(staged_.c_str(), file_.c_str()) != 0)
    return base::fail(Error::system(fmt::format("rename {}", staged_), errno));
  staged_.clear();
  const std::filesystem::path parent = std::filesystem::path(file_).parent_path();
  const base::Fd folder(::open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder || ::fsync(folder.get()) != 0)
    return base::fail(Error::system(fmt::format("write {} to the disk", file_), errno));
  return {};
}

namespace {

ListenerChange read_listener(JsonReader reader) {
  ListenerChange change;
  change.ssl_policy = reader.text("ssl_policy");
  change.alpn_policy = reader.text("alpn_policy");
  change.certificate = read_certificate(reader);
  if (auto action = reader.object("default_action")) {
    change.forward = read_forward(*action);
    if (!action->has("forward")) action->wrong("forward", "missing, expected the name of a target group");
    action->finish();
  }
  reader.finish();
  return change;
}

TargetGroupChange read_target_group(JsonReader reader) {
  TargetGroupChange change;
  const auto targets = [&](std::string_view key, std::vector<policy::HostPort>& out) {
    for (const std::string& text : reader.texts(key)) {
      auto target = policy::parse_target(text);
      if (target) {
        out.push_back(*std::move(target));
      } else {
        reader.wrong(key, std::move(target.error()));
      }
    }
  };
  targets("registered", change.registered);
  targets("deregistered", change.deregistered);
  change.attributes = reader.texts_by_name("attributes");
  reader.finish();
  return change;
}

std::expected<std::string, Error> read_text(const std::filesystem::path& file) {
  const base::Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // no pipe holds anyone up
  if (!fd) return base::fail(Error::system("cannot open", errno));
  std::string text;
  char chunk[16'384];
  while (text.size() <= kFileMax) {
    const ssize_t got = ::read(fd.get(), chunk, sizeof chunk);
    if (got == 0) break;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return base::fail(Error::system("cannot read", errno));
    text.append(chunk, static_cast<std::size_t>(got));
  }
  return text;
}

Result<void> write_text(const std::string& file, std::string_view text) {
  const base::Fd fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, kMode));
  if (!fd) return base::fail(Error::system(fmt::format("write {}", file), errno));
  while (!text.empty()) {
    const ssize_t sent = ::write(fd.get(), text.data(), text.size());
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return base::fail(Error::system(fmt::format("write {}", file), errno));
    text.remove_prefix(static_cast<std::size_t>(sent));
  }
  if (::fsync(fd.get()) != 0) return base::fail(Error::system(fmt::format("write {}", file), errno));
  return {};
}

}  // namespace
}  // namespace tlsplice::control
