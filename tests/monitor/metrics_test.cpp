// Promised: the page shows the numbers of all workers under their names, each worker's own where they are a
// worker's; a worker that is not there has no heartbeat; a TCP listener has nothing to say of TLS; a row
// without an end in its name leads nobody beyond the row. Checked on tables that the test fills.
#include "tlsplice/monitor/metrics.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <set>

namespace tlsplice::monitor {
namespace {

using namespace std::chrono_literals;
using observe::Timing;

struct MetricsTest : testing::Test {
  observe::CounterTable table = std::move(
      *observe::CounterTable::create({.workers = 2,
                                      .listeners = {{"web", "TLS"}, {"plain", "TCP"}},
                                      .targets = {{"app", "192.0.2.1:80"}, {"db", "[2001:db8::1]:5432"}}}));
  base::SharedRows<tlsplice_worker_load> loads =
      std::move(*base::SharedRows<tlsplice_worker_load>::create(2));
  base::SharedRows<tlsplice_steering> outcomes = std::move(*base::SharedRows<tlsplice_steering>::create(2));
  targets::HealthTable health = std::move(*targets::HealthTable::create(groups()));
  base::Instant now{1000s};
  observe::Counters first = table.worker(0);
  observe::Counters second = table.worker(1);

  std::string page() const {
    return metrics_text({.counters = table,
                         .loads = loads,
                         .outcomes = outcomes,
                         .health = health,
                         .library = "OpenSSL 3.0",
                         .started = base::WallTime(1'700'000'000s)},
                        now);
  }
  static std::vector<targets::WatchedGroup> groups() {
    return {{.group = {.name = "app", .targets = {{"192.0.2.1", 80}}}, .listener_port = 443},
            {.group = {.name = "db", .targets = {{"2001:db8::1", 5432}}, .health_check = {.enabled = false}},
             .listener_port = 5432}};
  }
  bool has(const std::string& line) const { return page().find("\n" + line + "\n") != std::string::npos; }
};

TEST_F(MetricsTest, WorkersAreSummed) {
  using L = tlsplice_listener;
  first.add(0, &L::NewFlowCount, 3);
  second.add(0, &L::NewFlowCount, 4);
  second.add(1, &L::ProcessedBytes_ToClient, 5);
  second.add(0, &L::ClientTLSNegotiationErrorCount_NotTls);
  second.add(1, &tlsplice_target::TargetConnectionErrorCount, 2);
  EXPECT_TRUE(has(R"(tlsplice_new_flow_count_total{listener="web",protocol="TLS"} 7)")) << page();
  EXPECT_TRUE(has(R"(tlsplice_new_flow_count_total{listener="plain",protocol="TCP"} 0)"));
  EXPECT_TRUE(
      has(R"(tlsplice_processed_bytes_total{listener="plain",protocol="TCP",direction="to_client"} 5)"));
  EXPECT_TRUE(has(R"(tlsplice_client_tls_negotiation_error_count_total{listener="web",reason="not_tls"} 1)"));
  EXPECT_TRUE(
      has("tlsplice_target_group_target_connection_error_count_total"
          R"({target_group="db",target="[2001:db8::1]:5432"} 2)"));
}

TEST_F(MetricsTest, HistogramsAreSummedAndCumulative) {
  first.add(0, Timing::kHandshake, 3ms);
  second.add(0, Timing::kHandshake, 4ms);
  second.add(0, Timing::kHandshake, 1h);
  const std::string name = "tlsplice_client_tls_handshake_seconds";
  EXPECT_TRUE(has(name + R"(_bucket{listener="web",le="0.0025"} 0)"));
  EXPECT_TRUE(has(name + R"(_bucket{listener="web",le="0.005"} 2)"));
  EXPECT_TRUE(has(name + R"(_bucket{listener="web",le="+Inf"} 3)"));
  EXPECT_TRUE(has(name + R"(_count{listener="web"} 3)"));
  EXPECT_TRUE(has(name + R"(_sum{listener="web"} 3600.007000)"));
}

TEST_F(MetricsTest, ATcpListenerHasNothingToSayOfTls) {
  const std::string text = page();
  EXPECT_EQ(text.find(R"(handshake_seconds_count{listener="plain")"), std::string::npos);
  EXPECT_EQ(text.find(R"(negotiation_error_count_total{listener="plain",reason)"), std::string::npos);
  EXPECT_NE(text.find(R"(flow_duration_seconds_count{listener="plain")"), std::string::npos);
}

TEST_F(MetricsTest, CombinationsOfTwoWorkersAreOneSample) {
  for (observe::Counters* own : {&first, &second}) {
    own->add({"client", "TLSv1.3", "TLS_AES_128_GCM_SHA256", "x25519"});
    own->add_ktls(true, "kernel");
  }
  second.add({"target", "TLSv1.2", "X", "-"});
  EXPECT_TRUE(has(
      R"(tlsplice_negotiated_count_total{side="client",protocol="TLSv1.3",cipher="TLS_AES_128_GCM_SHA256",)"
      R"(group="x25519"} 2)"));
  EXPECT_TRUE(
      has(R"(tlsplice_negotiated_count_total{side="target",protocol="TLSv1.2",cipher="X",group="-"} 1)"));
  EXPECT_TRUE(has(R"(tlsplice_tls_connection_count_total{side="client",direction="send",ktls="kernel"} 2)"));
  EXPECT_TRUE(has(R"(tlsplice_tls_connection_count_total{side="target",direction="send",ktls="kernel"} 0)"));
}

TEST_F(MetricsTest, AWorkerThatIsNotThereHasNoHeartbeat) {
  loads[0].heartbeat_ns = 999'500'000'000;
  loads[0].active = 12;
  loads[1].restarts = 3;
  EXPECT_TRUE(has(R"(tlsplice_worker_active_flows{worker="0"} 12)"));
  EXPECT_TRUE(has(R"(tlsplice_worker_up{worker="0"} 1)"));
  EXPECT_TRUE(has(R"(tlsplice_worker_up{worker="1"} 0)"));
  EXPECT_TRUE(has(R"(tlsplice_worker_restart_count_total{worker="1"} 3)"));
  EXPECT_TRUE(has(R"(tlsplice_worker_heartbeat_age_seconds{worker="0"} 0.500000)"));
  EXPECT_EQ(page().find(R"(heartbeat_age_seconds{worker="1"})"), std::string::npos);
  loads[0].heartbeat_ns = 1'000'000'000'001;  // beaten since the page was begun
  EXPECT_TRUE(has(R"(tlsplice_worker_heartbeat_age_seconds{worker="0"} 0.000000)"));
}

TEST_F(MetricsTest, HealthIsShownWhereItIsChecked) {
  const std::string app = R"({target_group="app"} )";
  const std::string target = R"({target_group="app",target="192.0.2.1:80")";
  EXPECT_TRUE(has("tlsplice_target_group_healthy_hosts" + app + "0"));
  EXPECT_TRUE(has("tlsplice_target_group_fail_open" + app + "1"));
  targets::enter_check(health.targets_of(0)[0], {}, {}, {});
  targets::enter_group(health.group(0), health.targets_of(0), {});
  EXPECT_TRUE(has("tlsplice_target_group_healthy_hosts" + app + "1"));
  EXPECT_TRUE(has("tlsplice_target_group_unhealthy_hosts" + app + "0"));
  EXPECT_TRUE(has("tlsplice_target_group_fail_open" + app + "0"));
  EXPECT_TRUE(has("tlsplice_target_group_target_healthy" + target + "} 1"));
  EXPECT_TRUE(has("tlsplice_target_group_health_check_count_total" + target + R"(,result="passed"} 1)"));
  EXPECT_TRUE(has("tlsplice_target_group_health_check_count_total" + target + R"(,result="failed"} 0)"));
  EXPECT_TRUE(has("tlsplice_target_group_health_change_count_total" + target + "} 1"));
  EXPECT_EQ(page().find(R"(target_healthy{target_group="db")"), std::string::npos);
  EXPECT_EQ(page().find(R"(healthy_hosts{target_group="db")"), std::string::npos);
}

TEST_F(MetricsTest, TheServiceSaysWhatItIs) {
  std::strcpy(outcomes[1].listener, "plain");
  outcomes[1].hash = 9;
  EXPECT_TRUE(has("process_start_time_seconds 1700000000.000000"));
  EXPECT_TRUE(has(R"(tlsplice_steering_count_total{listener="plain",outcome="hash"} 9)"));
  EXPECT_NE(page().find(R"(library="OpenSSL 3.0"} 1)"), std::string::npos);
}

TEST_F(MetricsTest, ANameWithoutAnEndEndsWithItsField) {
  std::memset(outcomes[0].listener, 'x', sizeof outcomes[0].listener);
  outcomes[0].least_loaded = 0x7878787878787878;
  EXPECT_TRUE(has(fmt::format(R"(tlsplice_steering_count_total{{listener="{}",outcome="cpu"}} 0)",
                              std::string(sizeof outcomes[0].listener, 'x'))));
}

/// A listener's name decides nothing about the order, but a family that began twice would be refused.
TEST_F(MetricsTest, EveryFamilyBeginsOnce) {
  std::multiset<std::string> begun;
  const std::string text = page();
  for (std::size_t at = text.find("# TYPE "); at != std::string::npos; at = text.find("# TYPE ", at + 1))
    begun.insert(text.substr(at + 7, text.find(' ', at + 7) - at - 7));
  EXPECT_GT(begun.size(), 40u);
  for (const std::string& name : begun) EXPECT_EQ(begun.count(name), 1u) << name;
}

}  // namespace
}  // namespace tlsplice::monitor
