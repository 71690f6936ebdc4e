#include "bequest.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <functional>

#include "bequest_json.hpp"

namespace tlsplice::master {
namespace {

using base::Error;
using base::Result;

constexpr const char* kVariable = "TLSPLICE_BEQUEST";
constexpr off_t kSizeMax = 64 << 20;

void each_table(const Bequest& bequest, const std::function<void(int)>& visit) {
  const auto of = [&](const Bequest::Table& table) {
    const observe::Backing& rows = table.rows;
    for (const int fd :
         {rows.counters, rows.listeners, rows.targets, rows.negotiated, rows.ktls, rows.histograms}) {
      visit(fd);
    }
  };
  of(bequest.past);
  of(bequest.serving.table);
  visit(bequest.serving.loads);
  visit(bequest.health.rows);
  for (const Bequest::Generation& generation : bequest.retired) {
    of(generation.table);
    visit(generation.loads);
  }
}

void each_descriptor(const Bequest& bequest, const std::function<void(int)>& visit) {
  each_table(bequest, visit);
  for (const Bequest::Worker& worker : bequest.serving.workers) visit(worker.channel);
  for (const Bequest::Generation& generation : bequest.retired) {
    for (const Bequest::Worker& worker : generation.workers) visit(worker.channel);
  }
  for (const Bequest::Listener& listener : bequest.listeners) {
    visit(listener.steering_sockets);
    for (const int socket : listener.sockets) visit(socket);
  }
}

Result<std::string> read_whole(int fd) {
  struct stat status{};
  if (::fstat(fd, &status) != 0 || status.st_size > kSizeMax)
    return base::fail(Error::invalid("no bequest in the descriptor"));
  std::string text(static_cast<std::size_t>(status.st_size), '\0');
  if (::pread(fd, text.data(), text.size(), 0) != std::ssize(text))
    return base::fail(Error::system("read the bequest", errno));
  return text;
}

}  // namespace

Result<void> leave(const Bequest& bequest) {
  const std::string text = nlohmann::json(bequest).dump();
  base::Fd memory(::memfd_create("tlsplice-bequest", 0));
  if (!memory || ::write(memory.get(), text.data(), text.size()) != std::ssize(text))
    return base::fail(Error::system("write the bequest", errno));
  each_descriptor(bequest, [](int fd) { ::fcntl(fd, F_SETFD, 0); });
  ::setenv(kVariable, std::to_string(memory.release()).c_str(),
           1);  // NOLINT(concurrency-mt-unsafe): one thread
  return {};
}

void take_back(const Bequest& bequest) {
  each_descriptor(bequest, [](int fd) { ::fcntl(fd, F_SETFD, FD_CLOEXEC); });
  if (const char* memory = std::getenv(kVariable)) base::Fd(std::atoi(memory)).reset();  // NOLINT
  ::unsetenv(kVariable);  // NOLINT(concurrency-mt-unsafe)
}

void close_tables(const Bequest& bequest) {
  each_table(bequest, [](int fd) { base::Fd(fd).reset(); });
}

bool is_successor() {
  return std::getenv(kVariable) != nullptr;  // NOLINT(concurrency-mt-unsafe)
}

std::optional<Bequest> receive_bequest() {
  const char* const variable = std::getenv(kVariable);  // NOLINT(concurrency-mt-unsafe)
  if (variable == nullptr) return std::nullopt;
  const base::Fd memory(std::atoi(variable));  // NOLINT(cert-err34-c): what is no number is no descriptor
  ::unsetenv(kVariable);                       // NOLINT(concurrency-mt-unsafe)
  const auto text = read_whole(memory.get());
  if (!text) return std::nullopt;
  try {
    auto bequest = nlohmann::json::parse(*text).get<Bequest>();
    take_back(bequest);
    return bequest;
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

}  // namespace tlsplice::master
