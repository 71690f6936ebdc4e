// The bequest as JSON: the members that are named here, and no others of what they are members of. What one
// version does not have, or has besides, leaves the rest readable where new members have come since the
// first.
#pragma once

#include <nlohmann/json.hpp>

#include "bequest.hpp"

namespace nlohmann {
template <>
struct adl_serializer<tlsplice::base::Milliseconds> {
  static void to_json(json& out, tlsplice::base::Milliseconds time) { out = time.count(); }
  static void from_json(const json& in, tlsplice::base::Milliseconds& time) {
    time = tlsplice::base::Milliseconds(in.get<std::int64_t>());
  }
};
template <>
struct adl_serializer<tlsplice::base::Instant> {
  static void to_json(json& out, tlsplice::base::Instant time) {
    out = std::chrono::nanoseconds(time.time_since_epoch()).count();
  }
  static void from_json(const json& in, tlsplice::base::Instant& time) {
    time = tlsplice::base::Instant(std::chrono::nanoseconds(in.get<std::int64_t>()));
  }
};
}  // namespace nlohmann

namespace tlsplice::policy {
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(HostPort, host, port)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DeregistrationDelay, timeout, connection_termination)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(TargetGroup, name, targets, deregistration_delay)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Forward, target_group, weight)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(Listener, name, forward)
}  // namespace tlsplice::policy

namespace tlsplice::observe {
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Shape::Listener, name, protocol)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Shape::Target, group, address)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Shape, workers, listeners, targets)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Backing, counters, listeners, targets, negotiated, ktls, histograms)
}  // namespace tlsplice::observe

namespace tlsplice::master {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Departures::Target, group, address)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Departures::Share, listener, group)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Departures::Draining, group, address, until, terminate)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(Departures::Left, draining, shares, unhealthy)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Bequest::Health, layout, count, rows)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Bequest::Table, shape, rows)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Bequest::Worker, index, process, channel)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(Bequest::Generation, number, access_log, drain_timeout,
                                                client_ip_targets, target_groups, listeners, table, loads,
                                                workers)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Bequest::Listener, address, alone, steering_sockets, sockets)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(Bequest, layout, flow_hash_seed, past, serving, listeners,
                                                shut, retired, health, departures, names)

}  // namespace tlsplice::master
