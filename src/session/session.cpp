// The life of one connection, top to bottom: handshake, choose a target, connect, relay, record. Every early
// co_return of serve() names its end; run(), at the bottom, writes the record exactly once. Rooms return
// facts; only this file puts them into the record. A coroutine fewer is memory that a resting flow does not
// hold.
#include "tlsplice/session/session.hpp"

#include <algorithm>
#include <cerrno>

#include "client_header.hpp"
#include "kernel_tls.hpp"
#include "proxy_header.hpp"
#include "tlsplice/net/socket.hpp"
#include "tlsplice/net/stream.hpp"
#include "tlsplice/tls/handshake.hpp"
#include "tlsplice/uring/ops.hpp"

namespace tlsplice::session {
namespace {

using namespace std::string_view_literals;
using base::Fault;
using observe::End;
using policy::Protocol;
using uring::Task;
using StreamPointer = std::unique_ptr<net::Stream>;

class Session final : public LiveFlow, private relay::Meter {
 public:
  Session(Surroundings& here, const Service& service, net::Address peer);

  Task<End> serve(base::Fd socket);
  /// Once, when serve() is done.
  void record(End end);
  bool describe(tlsplice_flow& row) const override;

 private:
  void moved(relay::Side from, std::uint64_t bytes, std::uint64_t spliced) override;
  bool expects_header() const;
  Task<std::optional<End>> learn_client(int socket);
  Task<std::expected<StreamPointer, End>> meet_client(base::Fd socket);
  Task<std::expected<StreamPointer, End>> meet_target(std::uint64_t hash);
  Task<std::expected<base::Fd, End>> connect_target(std::uint64_t hash);
  Task<std::expected<StreamPointer, End>> secure_target(base::Fd socket);
  End nobody(std::string why);
  End untold(const base::Error& error);
  /// For the access log alone.
  void note_alpn_offer(std::string_view offer);
  /// What was agreed on with the client, and nothing else: both sides then speak the same.
  std::string_view alpn_for_target() const { return record_.alpn == "-"sv ? ""sv : record_.alpn; }
  End learn(const relay::Outcome& outcome, const net::Notes& client, const net::Notes& target);
  /// By the ring's clock, which reads once a round.
  void time(observe::Timing timing, base::Instant since) {
    here_.counters.add(record_.listener_row, timing, here_.ring.now() - since);
  }

  std::uint32_t since_start_ms() const {
    const auto past = std::chrono::duration_cast<base::Milliseconds>(here_.ring.now() - record_.started);
    return static_cast<std::uint32_t>(past.count());
  }

  uring::Stop& relaying() const {
    return here_.target_stops != nullptr ? here_.target_stops->of(service_.row, record_.target_row)
                                         : here_.stop;
  }
  std::uint64_t client_hash() const { return targets::client_hash(record_.client, here_.flow_hash_seed); }
  base::Milliseconds handshake_left() const {
    return std::max(service_.handshake_timeout - base::Milliseconds(since_start_ms()), base::Milliseconds(1));
  }

  Surroundings& here_;
  const Service& service_;
  const targets::Share* share_ = nullptr;  // once chosen
  observe::FlowRecord record_;
  // For describe(): where serve() is, the sockets it has, and how the last bytes went each way.
  const char* step_ = "handshake";
  int client_socket_ = -1;
  int target_socket_ = -1;
  bool from_client_spliced_ = false;
  bool to_client_spliced_ = false;
};

End exhausted(const base::Error& error) {
  const bool descriptors = error.errnum == EMFILE || error.errnum == ENFILE;
  return descriptors ? End::kOutOfDescriptors : End::kOutOfMemory;
}

observe::NegotiationError counted(tls::NegotiationError error) {
  switch (error) {
    case tls::NegotiationError::kNotTls:
      return observe::NegotiationError::kNotTls;
    case tls::NegotiationError::kProtocol:
      return observe::NegotiationError::kProtocol;
    case tls::NegotiationError::kCipher:
      return observe::NegotiationError::kCipher;
    case tls::NegotiationError::kAlert:
      return observe::NegotiationError::kAlert;
    case tls::NegotiationError::kOther:
      break;
  }
  return observe::NegotiationError::kOther;
}

Session::Session(Surroundings& here, const Service& service, net::Address peer)
    : here_(here), service_(service) {
  record_.listener = service_.name;
  record_.listener_row = static_cast<std::uint32_t>(service_.row);
  record_.tls = service_.protocol == Protocol::kTls;
  record_.client = peer;
  record_.started = here_.ring.now();
  observe::count_start(here_.counters, record_);
  here_.flows.push_back(*this);
}

void Session::record(End end) {
  record_.end = end;
  observe::count_end(here_.counters, record_);
  time(observe::Timing::kFlow, record_.started);
  observe::write(here_.log, record_, here_.ring.now());
  if (here_.access_log != nullptr && service_.access_log)
    here_.access_log->write(record_, service_.certificate, here_.ring.now());
}

void Session::moved(relay::Side from, std::uint64_t bytes, std::uint64_t spliced) {
  const bool from_client = from == relay::Side::kClient;
  const bool first = (from_client ? record_.received : record_.sent) == 0;
  if (!first) here_.ring.note_traffic();  // the first bytes belong to what a new connection costs
  const bool now_spliced = spliced != (from_client ? record_.received_spliced : record_.sent_spliced);
  (from_client ? from_client_spliced_ : to_client_spliced_) = now_spliced;
  observe::count_moved(here_.counters, record_, from_client, bytes, spliced);
}

bool Session::describe(tlsplice_flow& row) const {
  observe::describe(record_, here_.ring.now(), row);
  using base::enter_text;
  enter_text(row.state, step_);
  enter_text(row.relay, relay::to_string(service_.relay.mode));
  if (record_.received > 0) enter_text(row.from_client, from_client_spliced_ ? "splice" : "copy");
  if (record_.sent > 0) enter_text(row.to_client, to_client_spliced_ ? "splice" : "copy");
  row.client_cookie = net::cookie(client_socket_);
  row.target_cookie = net::cookie(target_socket_);
  return true;
}

Task<End> Session::serve(base::Fd socket) {
  net::set_no_delay(socket.get());
  client_socket_ = socket.get();
  record_.destination = net::local_address(socket.get());
  if (expects_header()) {
    if (const auto wrong = co_await learn_client(socket.get())) co_return *wrong;
  }
  const std::uint64_t hash = targets::flow_hash(
      {record_.client, record_.destination, net::syn_sequence(socket.get())}, here_.flow_hash_seed);

  auto client = co_await meet_client(std::move(socket));
  if (!client) co_return client.error();

  step_ = "connecting";
  auto target = co_await meet_target(hash);
  if (!target) {
    net::reset_on_close((*client)->fd());  // what the client sent reached nobody: never a clean end
    co_return target.error();
  }

  step_ = "relaying";
  const auto outcome =
      co_await relay::run(here_.ring, relaying(), **client, **target, here_.pools, service_.relay, *this);
  if (outcome.finish != relay::Finish::kClosed) {
    // A side that broke TLS was sent an alert, which a reset would overtake; everyone else gets the reset.
    const bool broken = outcome.finish == relay::Finish::kBroken;
    if (!broken || outcome.by != relay::Side::kClient) net::reset_on_close((*client)->fd());
    if (!broken || outcome.by != relay::Side::kTarget) net::reset_on_close((*target)->fd());
  }
  co_return learn(outcome, (*client)->notes(), (*target)->notes());
}

/// Whether the peer is a proxy that tells who its client is.
bool Session::expects_header() const {
  const auto from_there = [this](const net::Network& network) { return network.contains(record_.client); };
  return std::ranges::any_of(service_.proxy_protocol_from, from_there);
}

/// From the header; the handshake has what is left of its time. Yields the end when there is none.
Task<std::optional<End>> Session::learn_client(int socket) {
  step_ = "header";
  const auto client = co_await receive_header(here_.ring, here_.stop, socket, service_.handshake_timeout);
  if (!client) {
    record_.detail = client.error().text();
    co_return client.error().fault == Fault::kStopped ? End::kCut : End::kProxyHeaderFailed;
  }
  if (*client) record_.client = **client;
  step_ = "handshake";
  co_return std::nullopt;
}

/// TLS is ended here; a TCP listener's client is taken as it is.
Task<std::expected<StreamPointer, End>> Session::meet_client(base::Fd socket) {
  if (service_.protocol == Protocol::kTcp) {
    co_return std::make_unique<net::SocketStream>(std::move(socket));
  }
  KernelTls kernel(service_.ktls, here_.kernel, here_.records_per_key);
  kernel.attach(socket.get());
  auto stream = co_await tls::handshake(here_.ring, here_.stop, std::move(socket), *service_.context,
                                        tls::TlsStream::Role::kServer, handshake_left());
  if (!stream) {
    record_.detail = stream.error().text();
    record_.valid_hello = stream.error().valid_hello;
    record_.incoming_alert = stream.error().incoming_alert;
    record_.server_name = std::move(stream.error().server_name);
    note_alpn_offer(stream.error().alpn_offer);
    switch (stream.error().fault) {
      case Fault::kTimedOut:
        co_return std::unexpected(End::kHandshakeTimeout);
      case Fault::kClosed:
      case Fault::kReset:
        co_return std::unexpected(End::kClientGone);
      case Fault::kStopped:
        co_return std::unexpected(End::kCut);
      case Fault::kExhausted:
        co_return std::unexpected(exhausted(stream.error()));
      default:
        record_.negotiation_error = counted(stream.error().reason);
        co_return std::unexpected(End::kHandshakeFailed);
    }
  }
  record_.valid_hello = true;
  record_.incoming_alert = (*stream)->notes().incoming_alert;
  record_.handshake_ms = since_start_ms();
  record_.protocol = (*stream)->protocol();
  record_.cipher = (*stream)->cipher();
  record_.group = (*stream)->group();
  record_.server_name = (*stream)->server_name();
  record_.alpn = (*stream)->alpn();
  note_alpn_offer((*stream)->alpn_offer());
  auto [taken, where] = kernel.take_over(std::move(*stream), here_.counters);
  record_.client_ktls = where;
  observe::count_client_tls(here_.counters, record_);
  time(observe::Timing::kHandshake, record_.started);
  if (!taken) co_return std::unexpected(End::kKtlsRequired);
  co_return std::move(taken);
}

void Session::note_alpn_offer(std::string_view offer) {
  if (!offer.empty() && service_.access_log) record_.alpn_offer = std::make_unique<const std::string>(offer);
}

Task<std::expected<StreamPointer, End>> Session::meet_target(std::uint64_t hash) {
  const bool sticky = targets::any_sticky(service_.shares);
  share_ = targets::choose_group(sticky ? client_hash() : hash, service_.shares);
  if (share_ == nullptr) co_return std::unexpected(nobody("every weight of default_action is 0"));
  const targets::Group& group = share_->group;
  auto socket = co_await connect_target(hash);
  if (!socket) co_return std::unexpected(socket.error());
  net::set_no_delay(socket->get());
  const bool tls = group.protocol == Protocol::kTls;
  if (const auto& header = group.proxy_protocol_v2; header.enabled) {
    const Introduction introduction{record_, header};
    if (!tls && header.placement == policy::HeaderPlacement::kOnFirstAckWithPayload) {
      co_return std::make_unique<HeadedStream>(std::move(*socket), introduction);
    }
    const auto sent =
        co_await send_header(here_.ring, here_.stop, socket->get(), introduction, tls, group.connect_timeout);
    if (!sent) co_return std::unexpected(untold(sent.error()));
  }
  if (tls) co_return co_await secure_target(std::move(*socket));
  co_return std::make_unique<net::SocketStream>(std::move(*socket));
}

End Session::nobody(std::string why) {
  record_.detail = std::move(why);
  return End::kTargetRefused;
}

/// The target took the connection, but not the header that says for whom.
End Session::untold(const base::Error& error) {
  record_.detail = error.text();
  if (error.fault == Fault::kStopped) return End::kCut;
  return error.fault == Fault::kTimedOut ? End::kTargetTimeout : End::kTargetReset;
}

/// The target that the flow hash chooses among those to be used; when that one does not take the connection,
/// another one of them, once.
Task<std::expected<base::Fd, End>> Session::connect_target(std::uint64_t hash) {
  const targets::Group& group = share_->group;
  if (group.targets.empty())
    co_return std::unexpected(nobody("target group " + group.name + " has no targets"));
  const tlsplice_target_group& health = here_.health.group(share_->group_row);
  if (group.stickiness) hash = client_hash();
  auto chosen = targets::choose_usable(health, group.targets.size(), hash);
  End end = End::kTargetRefused;
  for (int tries = 2; chosen && tries > 0; --tries) {
    const net::Address& target = group.targets[*chosen];
    const base::Instant began = here_.ring.now();
    auto socket = co_await uring::connect(here_.ring, here_.stop, target, group.connect_timeout,
                                          targets::source_address(group, record_.client, target));
    if (socket) {
      record_.target = target;
      target_socket_ = socket->get();
      record_.target_row = static_cast<std::uint32_t>(share_->target_row + *chosen);
      record_.detail.clear();
      observe::count_target(here_.counters, record_);
      time(observe::Timing::kConnect, began);
      co_return std::move(*socket);
    }
    record_.detail = socket.error().text();
    const Fault fault = socket.error().fault;
    if (fault == Fault::kStopped) co_return std::unexpected(End::kCut);
    const bool no_port = socket.error().errnum == EADDRNOTAVAIL;  // towards this target
    if (fault == Fault::kExhausted && !no_port) co_return std::unexpected(exhausted(socket.error()));
    here_.counters.add(&tlsplice_counters::TargetConnectionErrorCount);
    here_.counters.add(share_->target_row + *chosen, &tlsplice_target::TargetConnectionErrorCount);
    end = no_port ? End::kOutOfPorts : fault == Fault::kTimedOut ? End::kTargetTimeout : End::kTargetRefused;
    chosen = targets::choose_usable(health, group.targets.size(), hash, chosen);
  }
  co_return std::unexpected(end);
}

/// The bytes go on re-encrypted. The handshake has the target group's connect timeout once more.
Task<std::expected<StreamPointer, End>> Session::secure_target(base::Fd socket) {
  KernelTls kernel(share_->group.ktls, here_.kernel, here_.records_per_key);
  kernel.attach(socket.get());
  auto stream = co_await tls::handshake(here_.ring, here_.stop, std::move(socket), here_.target_context,
                                        tls::TlsStream::Role::kClient, share_->group.connect_timeout,
                                        alpn_for_target());
  if (!stream) {
    record_.detail = stream.error().text();
    const Fault fault = stream.error().fault;
    if (fault == Fault::kStopped) co_return std::unexpected(End::kCut);
    if (fault == Fault::kExhausted) co_return std::unexpected(exhausted(stream.error()));
    co_return std::unexpected(End::kTargetHandshakeFailed);
  }
  const observe::Negotiated negotiated{"target", (*stream)->protocol(), (*stream)->cipher(),
                                       (*stream)->group()};
  record_.target_alpn = (*stream)->alpn();
  auto [taken, where] = kernel.take_over(std::move(*stream), here_.counters);
  record_.target_ktls = where;
  observe::count_target_tls(here_.counters, record_, negotiated);
  if (!taken) co_return std::unexpected(End::kKtlsRequired);
  co_return std::move(taken);
}

End Session::learn(const relay::Outcome& outcome, const net::Notes& of_client, const net::Notes& of_target) {
  record_.truncated = outcome.truncated;
  if (outcome.truncated) record_.detail = "a FIN without close_notify";
  for (const net::Notes* notes : {&of_client, &of_target}) {
    record_.key_updates_received += notes->key_updates_received;
    record_.key_updates_sent += notes->key_updates_sent;
    record_.key_limit_reached |= notes->key_limit_reached;
  }
  if (of_client.incoming_alert >= 0) record_.incoming_alert = of_client.incoming_alert;
  const bool client = outcome.by == relay::Side::kClient;
  if (outcome.finish == relay::Finish::kBroken) record_.detail = (client ? of_client : of_target).trouble;
  switch (outcome.finish) {
    case relay::Finish::kClosed:
      return End::kClosed;
    case relay::Finish::kReset:
      return client ? End::kClientReset : End::kTargetReset;
    case relay::Finish::kTruncated:
      return client ? End::kClientTruncated : End::kTargetTruncated;
    case relay::Finish::kBroken:
      return client ? End::kClientError : End::kTargetError;
    case relay::Finish::kIdle:
      return End::kIdleTimeout;
    case relay::Finish::kStopped:
      return here_.stop.requested() ? End::kCut : End::kTargetWithdrawn;
    case relay::Finish::kExhausted:
      return End::kOutOfMemory;
  }
  return End::kCut;
}

}  // namespace

Task<End> run(Surroundings& here, const Service& service, base::Fd client, net::Address peer) {
  Session session(here, service, peer);
  const End end = co_await session.serve(std::move(client));
  session.record(end);
  co_return end;
}

}  // namespace tlsplice::session
