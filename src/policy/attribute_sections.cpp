// The attributes of a target group that the load balancer has as dotted keys, nested as those are
// (deregistration_delay.timeout_seconds is deregistration_delay = { timeout = "300s" }). Their values must be
// such that the load balancer's keys can say them, so durations are whole seconds.
#include <fmt/format.h>

#include "sections.hpp"

namespace tlsplice::policy {
namespace {

std::optional<Milliseconds> whole_seconds(TableReader& table, std::string_view key, Milliseconds max) {
  const auto value = table.duration(key, Milliseconds{0}, max);
  if (!value || value->count() % 1000 == 0) return value;
  table.wrong(key, fmt::format("{}ms are no whole seconds, expected such as \"{}s\"", value->count(),
                               value->count() / 1000 + 1));
  return std::nullopt;
}

}  // namespace

DeregistrationDelay read_deregistration_delay(TableReader& group) {
  DeregistrationDelay delay;
  auto table = group.table("deregistration_delay", R"({ timeout = "300s" })");
  if (!table) return delay;
  delay.timeout = whole_seconds(*table, "timeout", kDeregistrationDelayMax).value_or(delay.timeout);
  delay.connection_termination =
      table->boolean("connection_termination").value_or(delay.connection_termination);
  table->finish();
  return delay;
}

UnhealthyState read_target_health_state(TableReader& group) {
  UnhealthyState state;
  auto states = group.table("target_health_state", R"({ unhealthy = { connection_termination = false } })");
  if (!states) return state;
  if (auto table = states->table("unhealthy", R"({ connection_termination = false })")) {
    state.connection_termination =
        table->boolean("connection_termination").value_or(state.connection_termination);
    state.draining_interval =
        whole_seconds(*table, "draining_interval", kDrainingIntervalMax).value_or(state.draining_interval);
    if (state.connection_termination && state.draining_interval.count() != 0) {
      table->wrong("draining_interval",
                   "only with connection_termination = false: a flow that is ended "
                   "does not drain; remove one of the two");
    }
    table->finish();
  }
  states->finish();
  return state;
}

bool read_stickiness(TableReader& group, std::optional<Protocol> protocol) {
  auto table = group.table("stickiness", "{ enabled = true }");
  if (!table) return false;
  table->require("enabled", "true or false");
  const bool enabled = table->boolean("enabled").value_or(false);
  table->choice<bool>("type", {{"source_ip", true}});
  table->finish();
  if (!enabled || protocol != Protocol::kTls) return enabled;
  group.wrong("stickiness", R"(only for TCP target groups, as the load balancer has it; remove it)");
  return false;
}

}  // namespace tlsplice::policy
