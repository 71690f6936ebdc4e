// The verb serve: takes connections until it is told to stop, follows the plan of each, and sums up.
#include <fmt/format.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "run.hpp"
#include "tlsplice/net/socket.hpp"
#include "verbs.hpp"

namespace tlsplice::load {
namespace {

class Server : public Watched, public Owner {
 public:
  Server(Loop& loop, base::Fd listener, SSL_CTX* tls)
      : loop_(loop), listener_(std::move(listener)), tls_(tls) {
    loop.watch(listener_.get(), *this);
  }

  void on_ready() override;
  void ended(Flow& flow, const Turn& end) override;

  /// Why it can take no more connections; 0 as long as it can.
  int broken() const { return broken_; }
  const Tally& end() {
    tally_.cut = loop_.flows();
    return tally_;
  }

 private:
  Loop& loop_;
  base::Fd listener_;
  SSL_CTX* tls_;
  Tally tally_;
  int broken_ = 0;
};

void Server::on_ready() {
  for (;;) {
    auto accepted = net::accept(listener_.get());
    if (accepted) {
      ++tally_.flows;
      loop_.begin(Connection(std::move(accepted->socket), Connection::Role::kServer, tls_), server_talk(),
                  *this);
    } else if (accepted.error() != ECONNABORTED && accepted.error() != EINTR) {
      if (accepted.error() != EAGAIN) broken_ = accepted.error();
      return;
    }
  }
}

void Server::ended(Flow& flow, const Turn& end) {
  tally_.count(flow.connection(), flow.talk(), end);
  if (end.what == Turn::What::kFailed) {
    complain(tally_.failed, net::peer_address(flow.connection().fd()).text(), end.why);
  }
}

}  // namespace

int serve(const ServeOptions& options) {
  prepare_process();
  const auto address = parse_address(options.listen);
  if (!address) return cannot(address.error());
  SslContext tls;
  if (!options.certificate.empty()) {
    auto context = server_context(options.tls, options.certificate[0], options.certificate[1]);
    if (!context) return cannot(context.error());
    tls = *std::move(context);
  }
  if (address->port() != 0) {
    if (const auto free = net::expect_free(*address); !free) return cannot(free.error());
  }
  auto listener = net::listen(*address);
  if (!listener) return cannot(listener.error());

  fmt::print("listening on {}\n", net::local_address(listener->get()).text());
  (void)std::fflush(stdout);
  Loop loop{std::chrono::seconds(options.stall_seconds)};
  StopSignals stop(loop);
  Server server(loop, *std::move(listener), tls.get());
  const base::Instant started = base::now();
  while (!stop.asked() && server.broken() == 0) loop.turn();
  loop.turn(base::Milliseconds(0));  // what has come to its end by now is not cut

  const double seconds = std::chrono::duration<double>(base::now() - started).count();
  fmt::print("{}", json_line("serve", server.end(), seconds));
  if (server.broken() != 0) return cannot(base::Error::system("accept", server.broken()));
  return server.end().ok() ? kExitDone : kExitFailed;
}

}  // namespace tlsplice::load
