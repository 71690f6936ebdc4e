// Promised: a TlsStream tells the four ways in which a peer can end apart: close_notify, a FIN without it, a
// reset, a broken record or fatal alert; and its own end is close_notify, then the FIN, after which reading
// goes on. Checked over loopback TCP in TLS 1.2 and 1.3 against a plain OpenSSL client, whose socket is used
// behind OpenSSL's back.
#include <gtest/gtest.h>

#include "served.hpp"

namespace tlsplice::tls {
namespace {

using net::IoStatus;
using tests::Saw;
using tests::Served;
using tests::World;

class Ends : public testing::TestWithParam<int> {
 protected:
  Served serve() { return tests::serve(world_, context_, {GetParam()}); }
  IoStatus read_status(net::Stream& stream) { return tests::read_all(stream).status; }

  World world_;
  Context context_ = tests::server_context(tests::kEveryVersion);
};

TEST_P(Ends, CloseNotifyIsAnEnd) {
  Served both = serve();
  both.client.write("last words");
  both.client.close_notify();
  const auto taken = tests::read_all(*both.stream);
  EXPECT_EQ(taken.bytes, "last words");
  EXPECT_EQ(taken.status, IoStatus::kEnd);
  EXPECT_EQ(read_status(*both.stream), IoStatus::kEnd);
}

TEST_P(Ends, CloseNotifyAndFinAreAnEnd) {
  for (const bool ahead : {false, true}) {
    Served both = serve();
    if (ahead) both.stream->read_ahead();
    both.client.write("last words");
    both.client.close_notify();
    tests::end_write(both.client.socket());
    std::this_thread::sleep_for(base::Milliseconds(20));
    const auto taken = tests::read_all(*both.stream);
    EXPECT_EQ(taken.bytes, "last words");
    EXPECT_EQ(taken.status, IoStatus::kEnd);
    EXPECT_EQ(read_status(*both.stream), IoStatus::kEnd);
  }
}

// Whoever waits for the socket after data would wait for ever: the end has left the socket with the data
// before it.
TEST_P(Ends, AnEndRightBehindDataIsNotDrained) {
  Served both = serve();
  both.stream->read_ahead();
  both.client.write("last words");
  both.client.close_notify();
  std::this_thread::sleep_for(base::Milliseconds(20));
  std::string into(100, '\0');
  net::Io io = both.stream->read(std::as_writable_bytes(std::span(into)));
  EXPECT_EQ(io.status, IoStatus::kDone);
  EXPECT_EQ(io.bytes, 10u);
  EXPECT_FALSE(both.stream->drained());
  io = both.stream->read(std::as_writable_bytes(std::span(into)));
  EXPECT_EQ(io.status, IoStatus::kEnd);
}

TEST_P(Ends, ABrokenRecordRightBehindDataIsNotDrained) {
  Served both = serve();
  both.stream->read_ahead();
  both.client.write("last words");
  tests::send_all(both.client.fd(), "\x17\x03\x03" + std::string("\0\x40", 2) + std::string(64, 'x'));
  std::this_thread::sleep_for(base::Milliseconds(20));
  std::string into(100, '\0');
  EXPECT_EQ(both.stream->read(std::as_writable_bytes(std::span(into))).bytes, 10u);
  EXPECT_FALSE(both.stream->drained());
  EXPECT_EQ(both.stream->read(std::as_writable_bytes(std::span(into))).status, IoStatus::kBroken);
}

TEST_P(Ends, ABareFinIsATruncation) {
  Served both = serve();
  both.client.write("and then");
  tests::end_write(both.client.socket());
  const auto taken = tests::read_all(*both.stream);
  EXPECT_EQ(taken.bytes, "and then");
  EXPECT_EQ(taken.status, IoStatus::kTruncated);
  EXPECT_EQ(read_status(*both.stream), IoStatus::kTruncated);
}

TEST_P(Ends, AFinWithinARecordIsATruncation) {
  Served both = serve();
  tests::send_all(both.client.fd(), std::string("\x17\x03\x03\x00\x40half", 9));
  tests::end_write(both.client.socket());
  EXPECT_EQ(read_status(*both.stream), IoStatus::kTruncated);
}

TEST_P(Ends, WritingGoesOnAfterATruncation) {
  Served both = serve();
  tests::end_write(both.client.socket());
  EXPECT_EQ(read_status(*both.stream), IoStatus::kTruncated);
  const std::string bytes = tests::pattern(1'000'000, 5);
  std::string received;
  std::jthread peer([&] { received = both.client.read(bytes.size()).bytes; });
  EXPECT_EQ(tests::write_all(*both.stream, bytes), IoStatus::kDone);
  EXPECT_EQ(tests::end_write(*both.stream), IoStatus::kDone);
  peer.join();
  EXPECT_TRUE(received == bytes);
  EXPECT_EQ(both.client.read().end, Saw::kFin);
}

TEST_P(Ends, AResetIsAReset) {
  Served both = serve();
  tests::reset(both.client.socket());
  EXPECT_EQ(read_status(*both.stream), IoStatus::kReset);
}

TEST_P(Ends, WritingToAResetPeerIsAReset) {
  Served both = serve();
  tests::reset(both.client.socket());
  std::this_thread::sleep_for(base::Milliseconds(20));
  EXPECT_EQ(tests::write_all(*both.stream, "hello?"), IoStatus::kReset);
  Served other = serve();
  tests::reset(other.client.socket());
  std::this_thread::sleep_for(base::Milliseconds(20));
  EXPECT_EQ(tests::end_write(*other.stream), IoStatus::kReset);
}

TEST_P(Ends, ABrokenRecordIsBrokenAndIsAnsweredByAnAlert) {
  Served both = serve();
  tests::send_all(both.client.fd(), "\x17\x03\x03" + std::string("\0\x40", 2) + std::string(64, 'x'));
  EXPECT_EQ(read_status(*both.stream), IoStatus::kBroken);
  EXPECT_FALSE(both.stream->failure().empty());
  EXPECT_EQ(both.client.read().end, Saw::kReset);
  EXPECT_EQ(both.client.failure().substr(both.client.failure().size() - 14), "bad record mac");
}

TEST_P(Ends, NothingGoesOnAfterABrokenRecord) {
  Served both = serve();
  tests::send_all(both.client.fd(), "plain text, which is no record");
  EXPECT_EQ(read_status(*both.stream), IoStatus::kBroken);
  EXPECT_EQ(read_status(*both.stream), IoStatus::kBroken);
  EXPECT_EQ(tests::write_all(*both.stream, "more"), IoStatus::kBroken);
}

TEST_P(Ends, AFatalAlertIsBroken) {
  Served both = serve();
  tests::write_all(*both.stream, "something that the client can break on");
  // The client takes a record of ours that was tampered with, and answers bad_record_mac.
  std::string record = tests::receive(both.client.fd(), 20).bytes;
  BIO* tampered = BIO_new(BIO_s_mem());
  BIO_write(tampered, (record.substr(0, 3) + std::string("\0\x20", 2) + std::string(32, 'x')).data(), 37);
  SSL_set0_rbio(both.client.ssl(), tampered);
  both.client.read();
  EXPECT_EQ(read_status(*both.stream), IoStatus::kBroken);
  EXPECT_NE(both.stream->failure().find("alert bad record mac"), std::string::npos) << both.stream->failure();
}

TEST_P(Ends, EndWriteIsCloseNotifyThenFin) {
  Served both = serve();
  EXPECT_EQ(tests::write_all(*both.stream, "last words"), IoStatus::kDone);
  EXPECT_EQ(tests::end_write(*both.stream), IoStatus::kDone);
  const auto received = both.client.read();
  EXPECT_EQ(received.bytes, "last words");
  EXPECT_EQ(received.end, Saw::kFin);
  EXPECT_EQ(tests::receive(both.client.fd()).end, Saw::kFin);  // the socket itself has ended, too
}

TEST_P(Ends, ReadingGoesOnAfterEndWrite) {
  Served both = serve();
  EXPECT_EQ(tests::end_write(*both.stream), IoStatus::kDone);
  EXPECT_EQ(both.client.read().end, Saw::kFin);
  const std::string bytes = tests::pattern(1'000'000, 6);
  std::jthread peer([&] {
    both.client.write(bytes);
    both.client.close_notify();
  });
  const auto taken = tests::read_all(*both.stream);
  EXPECT_TRUE(taken.bytes == bytes);
  EXPECT_EQ(taken.status, IoStatus::kEnd);
}

// The socket is filled behind OpenSSL's back, so close_notify finds no room; it must be sent once all the
// same.
TEST_P(Ends, EndWriteWaitsWhileTheSocketIsFull) {
  Served both = tests::serve(world_, context_, {GetParam()}, 8 * 1024);
  const std::string piece(16 * 1024, 'x');
  std::size_t filled = 0;
  for (ssize_t n = 0; n >= 0; filled += static_cast<std::size_t>(std::max<ssize_t>(n, 0))) {
    n = ::send(both.stream->fd(), piece.data(), piece.size(), MSG_NOSIGNAL);
  }
  EXPECT_EQ(both.stream->end_write().status, IoStatus::kWantWrite);
  EXPECT_EQ(both.stream->end_write().status, IoStatus::kWantWrite);
  tests::Received received;
  std::jthread peer([&] { received = tests::receive(both.client.fd()); });
  EXPECT_EQ(tests::end_write(*both.stream), IoStatus::kDone);
  peer.join();
  EXPECT_EQ(received.end, Saw::kFin);
  ASSERT_GT(received.bytes.size(), filled + 5);
  const std::string record = received.bytes.substr(filled);
  EXPECT_EQ(record[0], GetParam() == TLS1_2_VERSION ? '\x15' : '\x17');
  EXPECT_EQ(record.size(), 5U + static_cast<unsigned char>(record[4]));
}

INSTANTIATE_TEST_SUITE_P(Stream, Ends, testing::Values(TLS1_2_VERSION, TLS1_3_VERSION),
                         [](const auto& each) { return each.param == TLS1_2_VERSION ? "Tls12" : "Tls13"; });

}  // namespace
}  // namespace tlsplice::tls
