// Promised: each flow leaves its marks in the rows of its listener and its target and in no other, by worker;
// handshakes leave what they negotiated and where their TLS went; a buried worker has nothing active. Checked
// on a table of two workers, two listeners and three targets.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "../../src/observe/flow_rows.hpp"
#include "tlsplice/base/fd.hpp"
#include "tlsplice/observe/record.hpp"

namespace tlsplice::observe {
namespace {

using C = tlsplice_counters;
using L = tlsplice_listener;
using T = tlsplice_target;

struct RowsTest : testing::Test {
  CounterTable table = std::move(*CounterTable::create(
      Shape{.workers = 2,
            .listeners = {{"web", "TLS"}, {"plain", "TCP"}},
            .targets = {{"app", "192.0.2.1:80"}, {"app", "192.0.2.2:80"}, {"db", "[2001:db8::1]:5432"}}}));
  Counters first = table.worker(0);
  Counters second = table.worker(1);
};

FlowRecord flow(std::uint32_t listener, std::uint32_t target, End end = End::kClosed) {
  FlowRecord record;
  record.listener_row = listener;
  record.target_row = target;
  record.end = end;
  return record;
}

void serve(Counters& counters, FlowRecord record) {
  count_start(counters, record);
  if (record.target_row != FlowRecord::kNoRow) {
    count_target(counters, record);
    count_moved(counters, record, true, 100, 5);
    count_moved(counters, record, false, 10, 0);
  }
  count_end(counters, record);
}

TEST_F(RowsTest, AFlowIsCountedWhereItWas) {
  serve(first, flow(1, 2));
  serve(second, flow(1, 2));
  serve(second, flow(0, 1));
  EXPECT_EQ(table.sum(0, &L::NewFlowCount), 1u);
  EXPECT_EQ(table.sum(1, &L::NewFlowCount), 2u);
  EXPECT_EQ(table.sum(1, &L::ProcessedBytes_FromClient), 200u);
  EXPECT_EQ(table.sum(1, &L::ProcessedBytes_ToClient), 20u);
  EXPECT_EQ(table.sum(1, &L::SplicedBytes), 10u);
  EXPECT_EQ(table.sum(1, &L::ActiveFlowCount), 0u);
  EXPECT_EQ(table.sum(0, &T::NewFlowCount), 0u);
  EXPECT_EQ(table.sum(1, &T::ProcessedBytes_ToTarget), 100u);
  EXPECT_EQ(table.sum(2, &T::ProcessedBytes_FromTarget), 20u);
  EXPECT_EQ(table.sum(2, &T::ActiveFlowCount), 0u);
}

TEST_F(RowsTest, AFlowWithoutATargetHasNone) {
  serve(first, flow(0, FlowRecord::kNoRow, End::kTargetRefused));
  EXPECT_EQ(table.sum(0, &L::TargetConnectionErrorCount), 1u);
  EXPECT_EQ(table.sum(0, &L::TCP_ELB_Reset_Count), 1u);
  for (std::size_t target = 0; target < 3; ++target) EXPECT_EQ(table.sum(target, &T::NewFlowCount), 0u);
}

TEST_F(RowsTest, AResetCountsForWhoSentIt) {
  serve(first, flow(0, 0, End::kTargetReset));
  EXPECT_EQ(table.sum(0, &L::TCP_Target_Reset_Count), 1u);
  EXPECT_EQ(table.sum(0, &T::TCP_Target_Reset_Count), 1u);
  EXPECT_EQ(table.sum(0, &L::TCP_ELB_Reset_Count), 0u);
  serve(first, flow(0, 0, End::kClientReset));
  EXPECT_EQ(table.sum(0, &L::TCP_Client_Reset_Count), 1u);
  EXPECT_EQ(table.sum(0, &T::TCP_Target_Reset_Count), 1u);
}

TEST_F(RowsTest, TheListenersAgreeWithTheWorkersWhateverTheEnd) {
  for (int end = 0; end <= static_cast<int>(End::kOutOfMemory); ++end)
    serve(first, flow(0, 0, End{static_cast<std::uint8_t>(end)}));
  EXPECT_EQ(table.sum(0, &L::TCP_ELB_Reset_Count), table.sum(&C::TCP_ELB_Reset_Count));
  EXPECT_EQ(table.sum(0, &L::ClientTLSNegotiationErrorCount), table.sum(&C::ClientTLSNegotiationErrorCount));
  EXPECT_EQ(table.sum(0, &L::TargetTLSNegotiationErrorCount), table.sum(&C::TargetTLSNegotiationErrorCount));
  EXPECT_EQ(table.sum(0, &L::RejectedFlowCount), 2u);
  EXPECT_EQ(table.sum(0, &L::ActiveFlowCount), 0u);
}

TEST_F(RowsTest, ABuriedWorkerHasNothingActive) {
  for (Counters* worker : {&first, &second}) {
    count_start(*worker, flow(1, 2));
    count_target(*worker, flow(1, 2));
  }
  table.bury(0);
  EXPECT_EQ(table.sum(1, &L::ActiveFlowCount), 1u);
  EXPECT_EQ(table.sum(2, &T::ActiveFlowCount), 1u);
  EXPECT_EQ(table.sum(&C::ActiveFlowCount), 1u);
  EXPECT_EQ(table.sum(1, &L::NewFlowCount), 2u);
}

TEST(NegotiationErrors, EachHasItsCounter) {
  const std::pair<NegotiationError, ListenerCounter> expected[] = {
      {NegotiationError::kProtocol, &L::ClientTLSNegotiationErrorCount_Protocol},
      {NegotiationError::kCipher, &L::ClientTLSNegotiationErrorCount_Cipher},
      {NegotiationError::kNotTls, &L::ClientTLSNegotiationErrorCount_NotTls},
      {NegotiationError::kAlert, &L::ClientTLSNegotiationErrorCount_Alert},
      {NegotiationError::kOther, &L::ClientTLSNegotiationErrorCount_Other}};
  for (const auto& [error, counter] : expected) {
    FlowRecord record = flow(0, FlowRecord::kNoRow, End::kHandshakeFailed);
    record.negotiation_error = error;
    EXPECT_EQ(negotiation_error_of(record), counter);
  }
  EXPECT_EQ(negotiation_error_of(flow(0, 0, End::kHandshakeTimeout)),
            &L::ClientTLSNegotiationErrorCount_Timeout);
  EXPECT_EQ(negotiation_error_of(flow(0, 0, End::kClientGone)),
            &L::ClientTLSNegotiationErrorCount_ClientGone);
}

/// A table whose rows the test reads as bpftool would: over memory of its own.
struct NegotiatedTest : testing::Test {
  base::Fd memory{::memfd_create("negotiated", MFD_CLOEXEC)};
  CounterTable make(std::size_t workers) {
    constexpr std::size_t kSize = 1 << 20;
    TLSPLICE_EXPECT(::ftruncate(memory.get(), kSize) == 0, "the tests have memory");
    return std::move(*CounterTable::create(Shape{.workers = workers}, {.negotiated = memory.get()}));
  }
};

TEST_F(NegotiatedTest, EachCombinationHasARowOfEachWorker) {
  const CounterTable table = make(2);
  const auto rows = base::SharedRows<tlsplice_negotiated>::create(2 * TLSPLICE_NEGOTIATED_ROWS, memory.get());
  Counters own = table.worker(1);
  for (int i = 0; i < 3; ++i) own.add({"client", "TLSv1.3", "TLS_AES_128_GCM_SHA256", "x25519"});
  own.add({"client", "TLSv1.3", "TLS_AES_128_GCM_SHA256", "secp256r1"});
  own.add({"target", "TLSv1.3", "TLS_AES_128_GCM_SHA256", "x25519"});
  const tlsplice_negotiated* mine = &(*rows)[TLSPLICE_NEGOTIATED_ROWS];
  EXPECT_STREQ(mine[0].cipher, "TLS_AES_128_GCM_SHA256");
  EXPECT_EQ(mine[0].NegotiatedCount, 3u);
  EXPECT_STREQ(mine[1].group, "secp256r1");
  EXPECT_STREQ(mine[2].side, "target");
  EXPECT_EQ(mine[3].side[0], '\0');
  EXPECT_EQ(mine[0].worker, 1u);
  EXPECT_EQ((*rows)[0].NegotiatedCount, 0u);
}

TEST_F(NegotiatedTest, WhatFindsNoRowIsTheOther) {
  const CounterTable table = make(1);
  const auto rows = base::SharedRows<tlsplice_negotiated>::create(TLSPLICE_NEGOTIATED_ROWS, memory.get());
  Counters own = table.worker(0);
  for (int i = 0; i < 100; ++i) {
    own.add({"client", "TLSv1.2", fmt::format("SUITE-{}-{}", i, std::string(60, 'x')).c_str(), "x25519"});
  }
  const tlsplice_negotiated& last = (*rows)[TLSPLICE_NEGOTIATED_ROWS - 1];
  EXPECT_STREQ(last.cipher, "other");
  EXPECT_EQ(last.NegotiatedCount, 100u - (TLSPLICE_NEGOTIATED_ROWS - 1));
  EXPECT_EQ(std::strlen((*rows)[0].cipher), sizeof last.cipher - 1);
}

TEST(Ktls, IsCountedByTheWordOfTheRecord) {
  const base::Fd memory(::memfd_create("ktls", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(memory.get(), 1 << 16), 0);
  const auto table = CounterTable::create(Shape{}, {.ktls = memory.get()});
  const auto rows = base::SharedRows<tlsplice_ktls>::create(4, memory.get());
  Counters own = table->worker(0);
  FlowRecord record = flow(0, 0);
  for (const char* word : {"kernel", "kernel", "cipher", "peer_gone", "kernel_refused", "-"}) {
    record.client_ktls = word;
    count_client_tls(own, record);
  }
  record.target_ktls = "off";
  count_target_tls(own, record, {"target", "TLSv1.2", "X", "-"});
  for (const std::size_t way : {0u, 1u}) {
    EXPECT_STREQ((*rows)[way].side, "client");
    EXPECT_STREQ((*rows)[way].direction, way == 0 ? "receive" : "send");
    EXPECT_EQ((*rows)[way].kernel, 2u);
    EXPECT_EQ((*rows)[way].cipher, 1u);
    EXPECT_EQ((*rows)[way].peer_gone, 1u);
    EXPECT_EQ((*rows)[way].kernel_refused, 1u);
    EXPECT_EQ((*rows)[way].off, 0u);
    EXPECT_STREQ((*rows)[2 + way].side, "target");
    EXPECT_EQ((*rows)[2 + way].off, 1u);
  }
  EXPECT_EQ(own.get(&C::ClientTLSHandshakeCount), 6u);
}

}  // namespace
}  // namespace tlsplice::observe
