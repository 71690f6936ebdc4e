// Promised: a flow is counted when it starts and when it ends, by kind and by cause; what was active is not
// active afterwards, whatever the end; its record is one line with every field. Checked by a table that says
// for each end its word and which counters it moves, and by whole lines.
#include "tlsplice/observe/record.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "../base/child.hpp"

namespace tlsplice::observe {
namespace {

using C = tlsplice_counters;

struct Expected {
  End end;
  const char* word;
  std::vector<std::string> counted;
};

const std::vector<Expected>& all_ends() {
  static const std::string reset = "TCP_ELB_Reset_Count";
  static const std::string negotiation = "ClientTLSNegotiationErrorCount";
  static const std::vector<Expected> ends = {
      {End::kClosed, "closed", {}},
      {End::kClientReset, "client_reset", {"TCP_Client_Reset_Count"}},
      {End::kTargetReset, "target_reset", {"TCP_Target_Reset_Count"}},
      {End::kClientTruncated, "client_truncated", {reset}},
      {End::kTargetTruncated, "target_truncated", {reset}},
      {End::kClientError, "client_error", {reset}},
      {End::kTargetError, "target_error", {reset}},
      {End::kIdleTimeout, "idle_timeout", {"IdleTimeoutCount", reset}},
      {End::kHandshakeFailed, "handshake_failed", {negotiation}},
      {End::kHandshakeTimeout, "handshake_timeout", {negotiation}},
      {End::kClientGone, "client_gone", {negotiation}},
      {End::kTargetRefused, "target_refused", {reset}},
      {End::kTargetTimeout, "target_timeout", {reset}},
      {End::kTargetHandshakeFailed, "target_handshake_failed", {"TargetTLSNegotiationErrorCount", reset}},
      {End::kCut, "cut", {reset}},
      {End::kOutOfDescriptors, "exhausted", {"RejectedFlowCount_Descriptors", reset}},
      {End::kKtlsRequired, "ktls_required", {reset}},
      {End::kOutOfMemory, "exhausted", {"RejectedFlowCount_Memory", reset}},
      {End::kOutOfPorts, "exhausted", {"PortAllocationErrorCount", reset}},
      {End::kProxyHeaderFailed, "proxy_header_failed", {"ProxyHeaderErrorCount"}},
      {End::kTargetWithdrawn, "target_withdrawn", {reset}},
  };
  return ends;
}

/// All counters that are not zero, by name.
std::map<std::string, __u64> moved(const CounterTable& table) {
  std::map<std::string, __u64> values;
#define TLSPLICE_NOTE(name) \
  if (const __u64 sum = table.sum(&C::name); sum != 0) values[#name] = sum;
  TLSPLICE_COUNTERS(TLSPLICE_NOTE)
#undef TLSPLICE_NOTE
  return values;
}

using Moved = std::map<std::string, __u64>;

FlowRecord flow(bool tls, End end = End::kClosed) {
  FlowRecord record;
  record.listener = "web";
  record.client = net::Address::parse("192.0.2.1", 50000).value();
  record.target_row = 0;
  record.tls = tls;
  record.end = end;
  return record;
}

struct RecordTest : testing::Test {
  CounterTable table = std::move(*CounterTable::create(1));
  Counters counters = table.worker(0);
};

TEST(End, HasAWordForEach) {
  // The table is complete when the last enumerator is in it and there are as many.
  EXPECT_EQ(all_ends().size(), static_cast<std::size_t>(End::kTargetWithdrawn) + 1);
  std::set<End> seen;
  for (const Expected& one : all_ends()) {
    EXPECT_STREQ(to_string(one.end), one.word);
    EXPECT_TRUE(seen.insert(one.end).second) << one.word;
  }
}

TEST_F(RecordTest, AStartIsCountedByKind) {
  count_start(counters, flow(true));
  EXPECT_EQ(
      moved(table),
      (Moved{
          {"NewFlowCount", 1}, {"NewFlowCount_TLS", 1}, {"ActiveFlowCount", 1}, {"ActiveFlowCount_TLS", 1}}));
  count_start(counters, flow(false));
  EXPECT_EQ(moved(table), (Moved{{"NewFlowCount", 2},
                                 {"NewFlowCount_TLS", 1},
                                 {"NewFlowCount_TCP", 1},
                                 {"ActiveFlowCount", 2},
                                 {"ActiveFlowCount_TLS", 1},
                                 {"ActiveFlowCount_TCP", 1}}));
}

TEST_F(RecordTest, BytesAreCountedAsTheyMove) {
  FlowRecord tls = flow(true);
  count_moved(counters, tls, true, 60, 50);
  EXPECT_EQ(moved(table), (Moved{{"ProcessedBytes", 60}, {"ProcessedBytes_TLS", 60}, {"SplicedBytes", 50}}));
  count_moved(counters, tls, true, 100, 50);
  count_moved(counters, tls, false, 23, 0);
  FlowRecord tcp = flow(false);
  count_moved(counters, tcp, false, 7, 7);
  EXPECT_EQ(tls.received, 100u);
  EXPECT_EQ(tls.sent, 23u);
  const Moved wanted{
      {"ProcessedBytes", 130}, {"ProcessedBytes_TLS", 123}, {"ProcessedBytes_TCP", 7}, {"SplicedBytes", 57}};
  EXPECT_EQ(moved(table), wanted);
  EXPECT_EQ(table.sum(0, &tlsplice_listener::ProcessedBytes_FromClient), 100u);
  EXPECT_EQ(table.sum(0, &tlsplice_listener::ProcessedBytes_ToClient), 30u);
  EXPECT_EQ(table.sum(0, &tlsplice_listener::SplicedBytes), 57u);
  EXPECT_EQ(table.sum(0, &tlsplice_target::ProcessedBytes_ToTarget), 100u);
  EXPECT_EQ(table.sum(0, &tlsplice_target::ProcessedBytes_FromTarget), 30u);
}

TEST_F(RecordTest, EachEndMovesItsOwnCounters) {
  for (const Expected& expected : all_ends()) {
    const CounterTable fresh = std::move(*CounterTable::create(1));
    Counters own = fresh.worker(0);
    const FlowRecord record = flow(true, expected.end);
    count_start(own, record);
    count_end(own, record);
    Moved wanted{{"NewFlowCount", 1}, {"NewFlowCount_TLS", 1}};
    for (const std::string& name : expected.counted) wanted[name] = 1;
    EXPECT_EQ(moved(fresh), wanted) << expected.word;
  }
}

TEST_F(RecordTest, NothingIsActiveWhenAllHaveEnded) {
  std::vector<FlowRecord> records;
  for (const Expected& one : all_ends()) {
    for (const bool tls : {false, true}) records.push_back(flow(tls, one.end));
  }
  for (const FlowRecord& record : records) count_start(counters, record);
  EXPECT_EQ(counters.get(&C::ActiveFlowCount), records.size());
  std::ranges::reverse(records);
  for (const FlowRecord& record : records) count_end(counters, record);
  EXPECT_EQ(counters.get(&C::ActiveFlowCount), 0u);
  EXPECT_EQ(counters.get(&C::ActiveFlowCount_TLS), 0u);
  EXPECT_EQ(counters.get(&C::ActiveFlowCount_TCP), 0u);
  EXPECT_EQ(counters.get(&C::NewFlowCount), records.size());
}

TEST_F(RecordTest, ATruncationIsCountedWhateverTheEnd) {
  for (const End end : {End::kClosed, End::kClientTruncated}) {
    FlowRecord record = flow(true, end);
    record.truncated = true;
    count_start(counters, record);
    count_end(counters, record);
  }
  EXPECT_EQ(counters.get(&C::TruncatedCount), 2u);
}

std::string line_of(const FlowRecord& record, base::LogFormat format, base::Milliseconds lived,
                    base::LogLevel level = base::LogLevel::kInfo) {
  tests::Pipe pipe;
  base::Log log(pipe.write_end.get(), level, format);
  write(log, record, record.started + lived);
  pipe.write_end.reset();
  const std::string line = tests::read_to_end(pipe.read_end.get());
  const std::size_t begin = line.find("flow");
  return begin == std::string::npos ? line : line.substr(begin);
}

std::string after_pid(const std::string& line) {
  return line.substr(line.find("listener") - 1);
}

TEST(RecordLine, HasEveryField) {
  const FlowRecord record{.listener = "web",
                          .client = net::Address::parse("192.0.2.1", 50000).value(),
                          .target = net::Address::parse("2001:db8::1", 8080).value(),
                          .server_name = "www.example.com",
                          .protocol = "TLSv1.2",
                          .cipher = "ECDHE-RSA-AES128-GCM-SHA256",
                          .alpn = "h2",
                          .client_ktls = "kernel",
                          .target_ktls = "off",
                          .received = 17,
                          .sent = 4'000'000'000'000,
                          .tls = true,
                          .end = End::kIdleTimeout,
                          .started = base::Instant() + std::chrono::hours(3),
                          .detail = "nothing moved"};
  EXPECT_EQ(after_pid(line_of(record, base::LogFormat::kLogfmt, base::Milliseconds(1234))),
            " listener=web client=192.0.2.1:50000 target=[2001:db8::1]:8080 server_name=www.example.com "
            "protocol=TLSv1.2 "
            "cipher=ECDHE-RSA-AES128-GCM-SHA256 alpn=h2 client_ktls=kernel target_ktls=off received_bytes=17 "
            "sent_bytes=4000000000000 duration_ms=1234 end=idle_timeout detail=\"nothing moved\"\n");
}

TEST(RecordLine, HasADashForWhatIsNotThere) {
  const FlowRecord record = flow(false);
  EXPECT_EQ(
      after_pid(line_of(record, base::LogFormat::kJson, base::Milliseconds(0))),
      "\"listener\":\"web\",\"client\":\"192.0.2.1:50000\",\"target\":\"-\",\"server_name\":\"-\","
      "\"protocol\":\"-\","
      "\"cipher\":\"-\",\"alpn\":\"-\",\"client_ktls\":\"-\",\"target_ktls\":\"-\",\"received_bytes\":0,"
      "\"sent_bytes\":0,\"duration_ms\":0,\"end\":\"closed\",\"detail\":\"-\"}\n");
}

TEST(RecordRow, SaysWhatIsKnownSoFar) {
  FlowRecord record = flow(true);
  record.protocol = "TLSv1.3";
  record.cipher = "TLS_AES_128_GCM_SHA256";
  record.alpn = "http/1.1";
  record.server_name = std::string(255, 'n');
  record.received = 5;
  record.sent = 6;
  tlsplice_flow row{};
  describe(record, record.started + base::Milliseconds(1500), row);
  EXPECT_STREQ(row.listener, "web");
  EXPECT_STREQ(row.client, "192.0.2.1:50000");
  EXPECT_STREQ(row.target, "");
  EXPECT_STREQ(row.protocol, "TLSv1.3");
  EXPECT_STREQ(row.cipher, "TLS_AES_128_GCM_SHA256");
  EXPECT_STREQ(row.alpn, "http/1.1");
  EXPECT_STREQ(row.target_alpn, "-");
  EXPECT_STREQ(row.client_ktls, "-");
  EXPECT_EQ(row.server_name, record.server_name);
  EXPECT_EQ(row.age_ms, 1500u);
  EXPECT_EQ(row.received, 5u);
  EXPECT_EQ(row.sent, 6u);
  record.target = net::Address::parse("2001:db8::1", 8080).value();
  describe(record, record.started, row);
  EXPECT_STREQ(row.target, "[2001:db8::1]:8080");
}

TEST(RecordLine, IsNotWrittenBelowItsLevel) {
  const FlowRecord record = flow(false);
  EXPECT_EQ(line_of(record, base::LogFormat::kJson, base::Milliseconds(0), base::LogLevel::kWarning), "");
}

}  // namespace
}  // namespace tlsplice::observe
