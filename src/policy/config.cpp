// From a file to a Config or to all its mistakes. The order here is the order of work: bytes, TOML, tables,
// and at last the mistakes sorted into the order of the file.
#include "tlsplice/policy/config.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <iterator>
#include <tuple>
#include <vector>

#include "sections.hpp"
#include "tlsplice/base/fd.hpp"
#include "tlsplice/policy/words.hpp"

namespace tlsplice::policy {
namespace {

// Thousands of targets fit in a tenth of it; a larger file is not a configuration but a mistaken argument.
constexpr std::size_t kFileMax = 1 << 20;

base::Result<std::string> read_file(const std::filesystem::path& file);
std::unexpected<std::vector<Mistake>> only(std::string what);

}  // namespace

std::expected<Config, std::vector<Mistake>> read_config(const std::filesystem::path& file) {
  const auto text = read_file(file);
  if (!text) return only(text.error().text());
  return parse_config(*text, file);
}

std::expected<Config, std::vector<Mistake>> parse_config(std::string_view text,
                                                         const std::filesystem::path& file) {
  if (text.size() > kFileMax) return only("larger than 1 MiB, which no configuration is");
  const auto document = parse_toml(text);
  if (!document) return std::unexpected(std::vector{document.error()});

  std::vector<Mistake> mistakes;
  Config config;
  config.file = file;
  TableReader root(*document, "", mistakes);
  read_top(root, config);
  read_log(root, config.log);
  read_access_log(root, file.parent_path(), config.access_log);
  read_admin(root, config.admin);
  Seen seen;
  seen.access_log = root.has("access_log");
  read_metrics(root, config.metrics, seen);
  for (TableReader& table : root.tables("target_group")) {
    config.target_groups.push_back(read_target_group(table, seen));
  }
  for (TableReader& table : root.tables("listener")) {
    config.listeners.push_back(read_listener(table, file.parent_path(), seen));
  }
  if (!root.has("listener"))
    mistakes.push_back({{}, "listener", "missing, expected at least one [[listener]]"});
  root.finish();
  std::ranges::move(cross_check(config), std::back_inserter(mistakes));

  if (mistakes.empty()) return config;
  std::ranges::sort(mistakes, {}, [](const Mistake& mistake) {
    return std::tuple(mistake.place.line, mistake.place.column, std::string_view(mistake.key));
  });
  return std::unexpected(std::move(mistakes));
}

std::vector<Mistake> cross_check(const Config& config) {
  std::vector<Mistake> mistakes;
  for (const Listener& listener : config.listeners) {
    if (listener.protocol != Protocol::kTls) continue;
    for (const Forward& forward : listener.forward) {
      const TargetGroup* const group = config.target_group(forward.target_group);
      if (group == nullptr || !group->stickiness) continue;
      mistakes.push_back(
          {listener.place, "listener.default_action.forward",
           fmt::format("{} has stickiness, which is for TCP listeners only, as the load "
                       "balancer has it; expected a target group without, or protocol = \"TCP\"",
                       in_quotes(forward.target_group))});
    }
  }
  return mistakes;
}

const TargetGroup* Config::target_group(std::string_view name) const {
  const auto found = std::ranges::find(target_groups, name, &TargetGroup::name);
  return found == target_groups.end() ? nullptr : &*found;
}

std::string load_balancer_of(const Config& config) {
  if (!config.access_log.load_balancer.empty()) return config.access_log.load_balancer;
  char host[HOST_NAME_MAX + 1] = "localhost";
  ::gethostname(host, sizeof host - 1);
  return fmt::format("net/{}/0000000000000000", host);
}

std::string to_string(const HostPort& address) {
  const bool v6 = address.host.find(':') != std::string::npos;
  return v6 ? fmt::format("[{}]:{}", address.host, address.port)
            : fmt::format("{}:{}", address.host, address.port);
}

std::string to_string(const Network& network) {
  return fmt::format("{}/{}", network.host, network.prefix);
}

const char* to_string(Protocol protocol) {
  return protocol == Protocol::kTls ? "TLS" : "TCP";
}

const char* to_string(CheckProtocol protocol) {
  switch (protocol) {
    case CheckProtocol::kTcp:
      return "TCP";
    case CheckProtocol::kHttp:
      return "HTTP";
    case CheckProtocol::kHttps:
      return "HTTPS";
  }
  return "unknown";
}

std::string to_string(const std::vector<CodeRange>& codes) {
  std::string out;
  for (const auto& [first, last] : codes) {
    if (!out.empty()) out += ',';
    out += first == last ? fmt::format("{}", first) : fmt::format("{}-{}", first, last);
  }
  return out;
}

const char* to_string(Steering steering) {
  switch (steering) {
    case Steering::kLeastLoaded:
      return "least-loaded";
    case Steering::kCpu:
      return "cpu";
    case Steering::kHash:
      return "hash";
  }
  return "unknown";
}

std::string to_string(const std::filesystem::path& file, const Mistake& mistake) {
  std::string out = file.string();
  if (mistake.place.line != 0) out += fmt::format(":{}:{}", mistake.place.line, mistake.place.column);
  if (!mistake.key.empty()) out += ": " + mistake.key;
  return out + ": " + mistake.what;
}

namespace {

// Pipes are welcome (a generated file as "/dev/fd/3"), so the size is known only by reading.
base::Result<std::string> read_file(const std::filesystem::path& file) {
  const base::Fd fd(open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return base::fail(base::Error::system("cannot open", errno));
  std::string text;
  char chunk[16'384];
  while (text.size() <= kFileMax) {
    const ssize_t got = read(fd.get(), chunk, sizeof chunk);
    if (got == 0) break;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return base::fail(base::Error::system("cannot read", errno));
    text.append(chunk, static_cast<std::size_t>(got));
  }
  return text;
}

std::unexpected<std::vector<Mistake>> only(std::string what) {
  return std::unexpected(std::vector<Mistake>{{{}, "", std::move(what)}});
}

}  // namespace
}  // namespace tlsplice::policy
