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

std::optional<master::Loaded> load(const std::filesystem::path& file) {
  auto loaded = master::load(file);
  if (loaded) return std::move(*loaded);
  for (const std::string& line : loaded.error()) std::fprintf(stderr, "%s\n", line.c_str());
  return std::nullopt;
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
