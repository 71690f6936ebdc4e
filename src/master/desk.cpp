#include "desk.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <span>

#include "tlsplice/admin/channel.hpp"

namespace tlsplice::master {

using base::Result;

Result<void> Desk::prepare(const policy::AdminSettings& settings, base::Log& log) {
  next_.reset();
  next_path_ = settings.socket;
  if (settings.socket.empty() || settings.socket == path_) return {};
  auto server = admin::Server::open(settings.socket);
  if (server) {
    next_.emplace(std::move(*server));
    return {};
  }
  if (!settings.is_default) return base::fail(std::move(server.error()));
  log.warning("no_admin_socket", {{"why", server.error().text()},
                                  {"remedy", "give this service a place of its own: [admin] socket"}});
  next_path_.clear();
  return {};
}

void Desk::adopt() {
  if (next_path_ == path_) return;
  path_ = std::move(next_path_);
  server_.reset();
  if (next_) server_.emplace(std::move(*next_));
  next_.reset();
}

void Desk::control(control::Loaded loaded, control::Service service, base::Log log) {
  control_.emplace(std::move(loaded), std::move(service), log);
}

void Desk::watch(std::vector<pollfd>& watched) const {
  if (server_) server_->watch(watched);
}

void Desk::serve() {
  if (server_) server_->serve(base::now(), [this](const admin::Request& request) { return answer(request); });
}

base::Instant Desk::next_deadline() const {
  return server_ ? server_->next_deadline() : base::Instant::max();
}

void Desk::abandon() {
  for (auto* server : {&server_, &next_}) {
    if (*server) (*server)->abandon();
    server->reset();
  }
}

std::optional<admin::Reply> Desk::answer(const admin::Request& request) {
  if (!control_) return admin::Reply::error("the service is still starting");
  if (request.command == "flows") return flows();
  if (request.command == "numbers") return numbers();
  const auto complete = [this, ticket = request.ticket, path = path_](admin::Reply reply) {
    if (server_ && path == path_) server_->complete(ticket, std::move(reply));  // else they asked elsewhere
  };
  if (request.command == "upgrade") {
    upgrade_([complete](const std::string& why) { complete(admin::Reply::error(why)); });
    return std::nullopt;
  }
  control_->answer(request.command, request.arguments, [complete](control::Control::Answer answer) {
    complete(answer ? admin::Reply{.json = *std::move(answer), .descriptors = {}}
                    : admin::Reply::error(answer.error()));
  });
  return std::nullopt;
}

/// A stream from each worker to whoever asked: the rows never pass through here.
admin::Reply Desk::flows() const {
  admin::Reply reply;
  std::string told;
  int error = 0;
  generations_.each([&](const Workers& workers) {
    for (std::size_t i = 0; i < workers.count(); ++i) {
      const Slot& slot = workers.slot(i);
      if (slot.process < 0) continue;  // and serves no flow
      std::array<int, 2> ends = {-1, -1};
      if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) != 0) {
        error = errno;
        return;
      }
      base::Fd reader(ends[0]);
      // A worker that cannot be told leaves its stream at its end at once: the asker misses the last row.
      [[maybe_unused]] const auto sent =
          admin::send(slot.channel.get(), {admin::Order::kListFlows, base::Fd(ends[1])});
      reply.descriptors.push_back(std::move(reader));
      told += fmt::format(R"({}{{"worker": {}, "pid": {}}})", told.empty() ? "" : ", ", i, slot.process);
    }
  });
  if (error != 0)
    return admin::Reply::error(base::Error::system("open a stream for the flows", error).text());
  reply.json = fmt::format(R"({{"workers": [{}]}})", told);
  return reply;
}

/// The rows as they are now, in memory of their own: loads, counters, listeners, targets.
admin::Reply Desk::numbers() {
  generations_.fold();
  const Workers& workers = *generations_.current()->workers;
  const observe::CounterTable& counters = workers.counters();
  std::string rows;
  const auto append = [&rows](const auto& all) {
    rows.append(reinterpret_cast<const char*>(all.data()), all.size_bytes());
  };
  append(std::span(&workers.loads()[0], workers.count()));
  append(counters.counter_rows());
  append(counters.listener_rows());
  append(counters.target_rows());
  base::Fd memory(::memfd_create("numbers", MFD_CLOEXEC));
  if (!memory || ::write(memory.get(), rows.data(), rows.size()) != std::ssize(rows))
    return admin::Reply::error(base::Error::system("write the numbers down", errno).text());
  admin::Reply reply;
  reply.json =
      fmt::format(R"({{"workers": {}, "stride": {}, "listeners": {}, "targets": {}}})", workers.count(),
                  counters.stride(), counters.listener_rows().size() / counters.stride(),
                  counters.target_rows().size() / counters.stride());
  reply.descriptors.push_back(std::move(memory));
  return reply;
}

}  // namespace tlsplice::master
