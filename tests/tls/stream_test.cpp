// Promised: a TlsStream carries bytes of any amount both ways, waits where the socket is full, and does
// nothing of TLS that the listener excludes: no tickets, no resumption, no renegotiation, no early data, no
// compression. Checked over loopback TCP against a plain OpenSSL client. How a stream ends is in
// stream_ends_test.cpp.
#include "tlsplice/tls/stream.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>

#include "served.hpp"

namespace tlsplice::tls {
namespace {

using net::IoStatus;
using tests::Served;
using tests::TlsPeer;
using tests::World;

constexpr std::size_t kBulk = 8 * 1024 * 1024;

class InVersion : public testing::TestWithParam<int> {
 protected:
  Served serve(int buffer_bytes = 0) { return tests::serve(world_, context_, {GetParam()}, buffer_bytes); }

  World world_;
  Context context_ = tests::server_context(tests::kEveryVersion);
};

TEST_P(InVersion, ReadsManyBytes) {
  Served both = serve();
  const std::string bytes = tests::pattern(kBulk, 1);
  std::jthread peer([&] { both.client.write(bytes); });
  EXPECT_TRUE(tests::read_all(*both.stream, bytes.size()).bytes == bytes);
}

TEST_P(InVersion, WritesManyBytesPieceByPiece) {
  Served both = serve(16 * 1024);
  const std::string bytes = tests::pattern(kBulk, 2);
  std::string received;
  std::jthread peer([&] {
    std::this_thread::sleep_for(base::Milliseconds(100));
    received = both.client.read(bytes.size()).bytes;
  });
  std::size_t waits = 0;
  EXPECT_EQ(tests::write_all(*both.stream, bytes, &waits), IoStatus::kDone);
  peer.join();
  EXPECT_GT(waits, 0u);
  EXPECT_TRUE(received == bytes);
}

TEST_P(InVersion, CarriesBothDirectionsAtOnce) {
  Served both = serve(32 * 1024);
  const std::string up = tests::pattern(kBulk, 3);
  const std::string down = tests::pattern(kBulk, 4);
  std::string received;
  // The client answers piece by piece, so that our side must switch between the directions.
  std::jthread peer([&] {
    for (std::size_t at = 0; at < kBulk; at += 64 * 1024) {
      both.client.write(std::string_view(up).substr(at, 64 * 1024));
      received += both.client.read(64 * 1024).bytes;
    }
  });
  for (std::size_t at = 0; at < kBulk; at += 64 * 1024) {
    const auto taken = tests::read_all(*both.stream, 64 * 1024);
    ASSERT_TRUE(taken.bytes == std::string_view(up).substr(at, 64 * 1024));
    ASSERT_EQ(tests::write_all(*both.stream, std::string_view(down).substr(at, 64 * 1024)), IoStatus::kDone);
  }
  peer.join();
  EXPECT_TRUE(received == down);
}

TEST_P(InVersion, ReadAheadFetchesManyRecordsAtOnce) {
  Served both = serve();
  both.stream->read_ahead();
  for (int i = 0; i < 3; ++i) both.client.write(std::string(1000, 'x'));
  std::this_thread::sleep_for(base::Milliseconds(50));
  std::string into(64 * 1024, '\0');
  std::size_t most = 0;
  for (std::size_t sum = 0; sum < 3000;) {
    const net::Io io = both.stream->read(std::as_writable_bytes(std::span(into)));
    ASSERT_EQ(io.status, IoStatus::kDone);
    most = std::max(most, io.bytes);
    sum += io.bytes;
  }
  EXPECT_EQ(most, 3000u);
}

TEST_P(InVersion, IsNotDrainedWhileItHoldsDecryptedBytes) {
  Served both = serve();
  both.stream->read_ahead();
  both.client.write(std::string(1000, 'x'));
  EXPECT_EQ(tests::read_all(*both.stream, 600).bytes.size(), 600u);
  EXPECT_FALSE(both.stream->drained());
  EXPECT_EQ(tests::read_all(*both.stream, 400).bytes.size(), 400u);
  EXPECT_EQ(both.stream->splices_out(), net::Splicing::kNever);
  EXPECT_EQ(both.stream->splices_in(), net::Splicing::kNever);
}

TEST_P(InVersion, WantsToReadWhenThereIsNothing) {
  Served both = serve();
  std::string into(100, '\0');
  EXPECT_EQ(both.stream->read(std::as_writable_bytes(std::span(into))).status, IoStatus::kWantRead);
  EXPECT_TRUE(both.stream->drained());
}

int sessions_offered = 0;

TEST_P(InVersion, OffersNoSessionToResume) {
  tests::Connection tcp = tests::connection();
  TlsPeer made = TlsPeer::client(std::move(tcp.peer), {GetParam()});
  SSL_CTX* context = SSL_get_SSL_CTX(made.ssl());
  sessions_offered = 0;
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT);
  SSL_CTX_sess_set_new_cb(context, [](SSL*, SSL_SESSION*) { return (++sessions_offered) * 0; });
  Served both = tests::serve(world_, context_, std::move(made), std::move(tcp.ours));
  tests::write_all(*both.stream, "so that tickets would have been read");
  EXPECT_EQ(both.client.read(36).bytes.size(), 36u);
  const SSL_SESSION* session = SSL_get_session(both.client.ssl());
  unsigned id_size = 0;
  SSL_SESSION_get_id(session, &id_size);
  EXPECT_EQ(SSL_SESSION_has_ticket(session), 0);
  if (GetParam() != TLS1_3_VERSION) {
    EXPECT_EQ(id_size, 0u);
    EXPECT_EQ(SSL_SESSION_is_resumable(session), 0);
  }
  EXPECT_EQ(sessions_offered, 0);
}

TEST_P(InVersion, DoesNotResumeASession) {
  Served first = serve();
  SSL_SESSION* session = SSL_get1_session(first.client.ssl());
  tests::Connection tcp = tests::connection();
  TlsPeer again = TlsPeer::client(std::move(tcp.peer), {GetParam()});
  SSL_set_session(again.ssl(), session);
  Served second = tests::serve(world_, context_, std::move(again), std::move(tcp.ours));
  EXPECT_EQ(SSL_session_reused(second.client.ssl()), 0);
  SSL_SESSION_free(session);
}

TEST_P(InVersion, DoesNotCompress) {
  Served both = serve();
  EXPECT_EQ(SSL_get_current_compression(both.client.ssl()), nullptr);
  EXPECT_EQ(SSL_get_current_expansion(both.client.ssl()), nullptr);
}

INSTANTIATE_TEST_SUITE_P(Stream, InVersion, testing::Values(TLS1_2_VERSION, TLS1_3_VERSION),
                         [](const auto& each) { return each.param == TLS1_2_VERSION ? "Tls12" : "Tls13"; });

class Stream : public testing::Test {
 protected:
  World world_;
  Context context_ = tests::server_context(tests::kEveryVersion);
};

std::string alerts_seen;

TEST_F(Stream, RefusesRenegotiationAndGoesOn) {
  Served both = tests::serve(world_, context_, {TLS1_2_VERSION});
  alerts_seen.clear();
  SSL_set_info_callback(both.client.ssl(), [](const SSL*, int where, int value) {
    if ((where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT) alerts_seen += SSL_alert_desc_string_long(value);
  });
  ASSERT_EQ(SSL_renegotiate(both.client.ssl()), 1);
  // The client says its hello and no more: what it thinks of the refusal is heard later, or never.
  const int client = both.client.fd();
  const int modes = ::fcntl(client, F_GETFL);
  ::fcntl(client, F_SETFL, modes | O_NONBLOCK);
  SSL_do_handshake(both.client.ssl());
  std::string into(100, '\0');
  ASSERT_TRUE(tests::wait_for(*both.stream, IoStatus::kWantRead));
  EXPECT_EQ(both.stream->read(std::as_writable_bytes(std::span(into))).status, IoStatus::kWantRead);
  EXPECT_EQ(tests::write_all(*both.stream, "still here"), IoStatus::kDone);
  ::fcntl(client, F_SETFL, modes);
  SSL_do_handshake(both.client.ssl());
  EXPECT_EQ(alerts_seen, "no renegotiation");
}

TEST_F(Stream, ObeysAKeyUpdate) {
  Served both = tests::serve(world_, context_, {TLS1_3_VERSION});
  for (const int kind : {SSL_KEY_UPDATE_NOT_REQUESTED, SSL_KEY_UPDATE_REQUESTED}) {
    ASSERT_EQ(SSL_key_update(both.client.ssl(), kind), 1);
    ASSERT_TRUE(both.client.write("under a new key"));
    EXPECT_EQ(tests::read_all(*both.stream, 15).bytes, "under a new key");
    EXPECT_EQ(tests::write_all(*both.stream, "so is this"), IoStatus::kDone);
    EXPECT_EQ(both.client.read(10).bytes, "so is this");
  }
}

// One call must not last as long as the flood does: others wait for the worker.
TEST_F(Stream, ComesBackFromAFloodOfKeyUpdates) {
  Served both = tests::serve(world_, context_, {TLS1_3_VERSION});
  both.stream->read_ahead();
  for (int i = 0; i < 4000; ++i) {
    ASSERT_EQ(SSL_key_update(both.client.ssl(), SSL_KEY_UPDATE_NOT_REQUESTED), 1);
    ASSERT_EQ(SSL_do_handshake(both.client.ssl()), 1);
  }
  ASSERT_TRUE(both.client.write("behind the flood"));
  std::string into(100, '\0');
  EXPECT_EQ(both.stream->read(std::as_writable_bytes(std::span(into))).status, IoStatus::kWantRead);
  int left = 0;
  ASSERT_EQ(::ioctl(both.stream->fd(), FIONREAD, &left), 0);
  EXPECT_GT(left, 0);
  EXPECT_EQ(tests::read_all(*both.stream, 16).bytes, "behind the flood");
}

int early_session(SSL* ssl, const EVP_MD*, const unsigned char** id, std::size_t* id_size,
                  SSL_SESSION** session) {
  static const unsigned char kSecret[32] = {1};
  static const unsigned char kName[] = "psk";
  const unsigned char suite[] = {0x13, 0x01};
  *session = SSL_SESSION_new();
  SSL_SESSION_set1_master_key(*session, kSecret, sizeof kSecret);
  SSL_SESSION_set_cipher(*session, SSL_CIPHER_find(ssl, suite));
  SSL_SESSION_set_protocol_version(*session, TLS1_3_VERSION);
  SSL_SESSION_set_max_early_data(*session, 1000);
  *id = kName;
  *id_size = sizeof kName;
  return 1;
}

// A client that has a key of its own to resume with, and sends data before the handshake is done.
TEST_F(Stream, TakesNoEarlyData) {
  tests::Connection tcp = tests::connection();
  TlsPeer client = TlsPeer::client(std::move(tcp.peer), {TLS1_3_VERSION});
  SSL_set_psk_use_session_callback(client.ssl(), early_session);
  std::size_t put = 0;
  ASSERT_EQ(SSL_write_early_data(client.ssl(), "early", 5, &put), 1);
  Served both = tests::serve(world_, context_, std::move(client), std::move(tcp.ours));
  EXPECT_EQ(SSL_get_early_data_status(both.client.ssl()), SSL_EARLY_DATA_REJECTED);
  EXPECT_EQ(SSL_session_reused(both.client.ssl()), 0);
  both.client.write("late");
  EXPECT_EQ(tests::read_all(*both.stream, 4).bytes, "late");
}

TEST_F(Stream, LeavesTheSocketNonBlockingAndClosesIt) {
  Served both = tests::serve(world_, context_, {TLS1_2_VERSION});
  EXPECT_GE(both.stream->fd(), 0);
  both.stream.reset();
  EXPECT_EQ(tests::receive(both.client.fd()).end, tests::Saw::kFin);
}

}  // namespace
}  // namespace tlsplice::tls
