// One connection from accept to its record. session.cpp is the file to read first: serve() is the life of a
// connection.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tlsplice/base/fd.hpp"
#include "tlsplice/base/log.hpp"
#include "tlsplice/ktls/kernel.hpp"
#include "tlsplice/ktls/stream.hpp"
#include "tlsplice/net/address.hpp"
#include "tlsplice/net/network.hpp"
#include "tlsplice/observe/access_log.hpp"
#include "tlsplice/observe/record.hpp"
#include "tlsplice/policy/config.hpp"
#include "tlsplice/relay/relay.hpp"
#include "tlsplice/session/live_flow.hpp"
#include "tlsplice/session/target_stops.hpp"
#include "tlsplice/targets/group.hpp"
#include "tlsplice/targets/health.hpp"
#include "tlsplice/tls/context.hpp"
#include "tlsplice/uring/task.hpp"

namespace tlsplice::session {

/// A listener as its connections need it: immutable, built by the master, inherited by the workers.
struct Service {
  std::string name;
  std::size_t row = 0;  // its place among the numbers (observe::Shape)
  policy::Protocol protocol = policy::Protocol::kTls;
  const tls::Context* context = nullptr;  // of a TLS listener
  std::string certificate;                // the file of its chain
  std::vector<targets::Share> shares;     // where it forwards to
  base::Milliseconds handshake_timeout{};
  relay::Limits relay;
  policy::Ktls ktls = policy::Ktls::kAuto;
  bool access_log = true;                              // its connections have lines there
  std::vector<net::Network> proxy_protocol_from = {};  // whose connections begin with a header
};

/// What all sessions of a worker share. Outlives them.
struct Surroundings {
  uring::Ring& ring;
  uring::Stop& stop;  // requested when the worker ends at once
  base::Log& log;
  observe::Counters counters;
  relay::Pools& pools;
  LiveFlows& flows;
  const targets::HealthTable& health;
  const tls::Context& target_context;  // towards TLS targets
  const ktls::Support& kernel;         // what this kernel can take over
  std::uint64_t records_per_key = ktls::kRecordsPerKeyMax;
  std::uint64_t flow_hash_seed;
  observe::AccessLog* access_log = nullptr;  // null: none
  TargetStops* target_stops = nullptr;       // null: no target's flows are ended before the worker is
};

/// Serves one accepted connection to its end, then writes its record; yields how it ended. `here` and
/// `service` must outlive it.
uring::Task<observe::End> run(Surroundings& here, const Service& service, base::Fd client, net::Address peer);

}  // namespace tlsplice::session
