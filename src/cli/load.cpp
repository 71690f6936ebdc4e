#include "load.hpp"

#include <cstdio>
#include <vector>

namespace tlsplice::cli {
namespace {

void print(const std::filesystem::path& file, const std::vector<policy::Mistake>& mistakes) {
  for (const policy::Mistake& mistake : mistakes) {
    std::fprintf(stderr, "%s\n", policy::to_string(file, mistake).c_str());
  }
}

}  // namespace

std::optional<Loaded> load(const std::filesystem::path& file) {
  auto config = policy::read_config(file);
  if (!config) {
    print(file, config.error());
    return std::nullopt;
  }
  auto prepared = master::prepare(*config);
  if (!prepared) {
    print(file, prepared.error());
    return std::nullopt;
  }
  return Loaded{std::move(*config), std::move(*prepared)};
}

std::optional<std::string> admin_socket(const std::string& socket, const std::string& config) {
  if (!socket.empty()) return socket;
  if (config.empty()) return policy::kDefaultAdminSocket;
  auto read = policy::read_config(config);
  if (!read) {
    print(config, read.error());
    return std::nullopt;
  }
  if (!read->admin.socket.empty()) return std::move(read->admin.socket);
  std::fprintf(stderr, "%s: [admin] socket = \"off\": this service cannot be asked\n", config.c_str());
  return std::nullopt;
}

}  // namespace tlsplice::cli
