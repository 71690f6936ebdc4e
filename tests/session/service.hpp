// A service of one listener and one target group on loopback, for the tests of the session: it serves one
// flow at a time, and shows the flow's log line and the counters.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <map>

#include "../tls/served.hpp"
#include "tlsplice/session/session.hpp"

namespace tlsplice::tests {

using C = tlsplice_counters;

/// A line of the log as its fields.
using Line = std::map<std::string, std::string>;

inline Line parse_logfmt(std::string_view line) {
  Line fields;
  while (!line.empty()) {
    const std::size_t equals = line.find('=');
    const std::string key(line.substr(0, equals));
    line.remove_prefix(equals + 1);
    const bool quoted = line.starts_with('"');
    const std::size_t end = std::min(line.size(), quoted ? line.find('"', 1) + 1 : line.find(' '));
    fields[key] = quoted ? line.substr(1, end - 2) : line.substr(0, end);
    line.remove_prefix(std::min(line.size(), end + 1));
  }
  return fields;
}

/// What a peer does with its end of the connection, in a thread of its own.
using Act = std::function<void(base::Fd&)>;

class ServiceTest : public testing::Test {
 protected:
  ServiceTest();

  /// Makes the listener a TLS one.
  void listen_with_tls();
  /// A group of the targets' addresses. Those in `targets_` are real; the others refuse.
  void forward_to(std::vector<net::Address> targets, policy::Protocol protocol);
  net::Address target_address() const { return net::local_address(target_listener_.get()); }
  /// An address of loopback where nobody listens.
  static net::Address nobody();

  /// Serves a connection to its end; its log line. Without `target` nobody accepts there.
  Line serve(const Act& client, const Act& target = {});
  __u64 count(observe::Counter counter) const { return table_.sum(counter); }

  World world_;
  observe::CounterTable table_ = std::move(*observe::CounterTable::create(1));
  relay::Pools pools_;
  ktls::Support no_kernel_tls_;
  tls::Context listener_context_ = server_context(policy::kDefaultSslPolicy);
  tls::Context target_context_ = std::move(*tls::Context::client());
  base::Fd listener_ = listening();
  base::Fd target_listener_ = listening();
  session::Service service_;
  session::LiveFlows flows_;
  targets::HealthTable health_ =
      std::move(*targets::HealthTable::create(std::vector<targets::WatchedGroup>(1)));
  net::Address client_address_;
  std::function<void(std::uint64_t& seed, const targets::FlowKey& key)> before_serving_;

 private:
  std::string read_log();

  base::Fd log_reader_;
  base::Fd log_writer_;
};

inline ServiceTest::ServiceTest() {
  int ends[2];
  TLSPLICE_EXPECT(::pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0, "the tests can make a pipe");
  log_reader_ = base::Fd(ends[0]);
  log_writer_ = base::Fd(ends[1]);
  limit_waiting(target_listener_.get());
  service_.name = "web";
  service_.protocol = policy::Protocol::kTcp;
  service_.handshake_timeout = kPatience;
  service_.relay.idle = kPatience;
  forward_to({target_address()}, policy::Protocol::kTcp);
}

inline void ServiceTest::listen_with_tls() {
  service_.protocol = policy::Protocol::kTls;
  service_.context = &listener_context_;
}

inline void ServiceTest::forward_to(std::vector<net::Address> targets, policy::Protocol protocol) {
  service_.shares = {{.group = {.name = "app",
                                .protocol = protocol,
                                .targets = std::move(targets),
                                .connect_timeout = base::Milliseconds(10'000)}}};
}

inline net::Address ServiceTest::nobody() {
  const base::Fd gone = listening();
  return net::local_address(gone.get());
}

inline std::string ServiceTest::read_log() {
  std::string text(64 * 1024, '\0');
  const ssize_t n = ::read(log_reader_.get(), text.data(), text.size());
  text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return text;
}

inline Line ServiceTest::serve(const Act& client, const Act& target) {
  base::Fd peer = dial(net::local_address(listener_.get()));
  auto accepted = net::accept(listener_.get());
  client_address_ = accepted->peer;
  base::Log log(log_writer_.get(), base::LogLevel::kInfo, base::LogFormat::kLogfmt);
  session::Surroundings here{.ring = world_.ring(),
                             .stop = world_.stop(),
                             .log = log,
                             .counters = table_.worker(0),
                             .pools = pools_,
                             .flows = flows_,
                             .health = health_,
                             .target_context = target_context_,
                             .kernel = no_kernel_tls_,
                             .flow_hash_seed = 1};
  if (before_serving_) {
    // The tests' listener keeps no SYN, so its sequence number is 0 to the flow hash.
    before_serving_(here.flow_hash_seed, {client_address_, net::local_address(accepted->socket.get()), 0});
  }
  std::jthread first([&] { client(peer); });
  std::jthread second([&] {
    if (!target) return;
    base::Fd taken(::accept4(target_listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    EXPECT_TRUE(taken) << "the flow did not reach the target";
    if (!taken) return;
    limit_waiting(taken.get());
    target(taken);
  });
  world_.run(session::run(here, service_, std::move(accepted->socket), client_address_));
  first.join();
  second.join();
  const std::string lines = read_log();
  EXPECT_EQ(std::ranges::count(lines, '\n'), 1) << lines;
  EXPECT_EQ(count(&C::ActiveFlowCount) + count(&C::ActiveFlowCount_TLS) + count(&C::ActiveFlowCount_TCP), 0u);
  return parse_logfmt(std::string_view(lines).substr(0, lines.find('\n')));
}

}  // namespace tlsplice::tests
