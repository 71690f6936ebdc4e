// Promised: a RecordStream carries data both ways under every suite, however it arrives; obeys records that
// are not data; breaks at what was damaged or has no place, with an alert that the peer can read and without
// a byte of it; changes its key when that has protected enough; and loses nothing when a socket takes only
// part.
#include "tlsplice/tls/record_stream.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <memory>
#include <string>
#include <tuple>

#include "../ktls/pair.hpp"

namespace tlsplice::tls {
namespace {

using ktls::Cipher;
using ktls::Trouble;
using ktls::Version;
using net::Io;
using net::IoStatus;

constexpr std::size_t kHeaderBytes = 5;

void nonblocking(int socket) {
  ASSERT_EQ(::fcntl(socket, F_SETFL, O_NONBLOCK), 0);
}

class RecordStreams : public testing::TestWithParam<std::tuple<Version, Cipher>> {
 protected:
  RecordStreams() {
    nonblocking(pair_.a.get());
    nonblocking(pair_.b.get());
    nonblocking(wire_.a.get());
    nonblocking(wire_.b.get());
  }

  Version version() const { return std::get<0>(GetParam()); }
  Cipher cipher() const { return std::get<1>(GetParam()); }
  std::unique_ptr<RecordStream> make(base::Fd& socket, bool first,
                                     std::uint64_t records_per_key = ktls::kRecordsPerKeyMax) {
    auto made = RecordStream::create(socket, ktls::keys_of(version(), cipher(), first), records_per_key);
    EXPECT_NE(made, nullptr);
    EXPECT_FALSE(socket) << "it was taken";
    return made;
  }
  void connect(std::uint64_t records_per_key = ktls::kRecordsPerKeyMax) {
    a_ = make(pair_.a, true, records_per_key);
    b_ = make(pair_.b, false);
  }
  /// What a_ sends is taken from `wire_.b` and put, changed perhaps, into `pair_.a`, to b_.
  void connect_through_us() {
    a_ = make(wire_.a, true);
    b_ = make(pair_.b, false);
  }

  static bool wait(int fd, short events, int ms = 5000) {
    pollfd state{.fd = fd, .events = events, .revents = 0};
    return ::poll(&state, 1, ms) == 1;
  }
  static Io read(RecordStream& stream, std::string& text, std::size_t room = 65536) {
    std::string buffer(room, '\0');
    for (;;) {
      const Io io = stream.read(std::as_writable_bytes(std::span(buffer)));
      if (io.status == IoStatus::kWantRead && wait(stream.fd(), POLLIN)) continue;
      text = buffer.substr(0, io.bytes);
      return io;
    }
  }
  static std::string read_all(RecordStream& stream, std::size_t bytes, std::size_t room = 65536) {
    std::string all;
    std::string part;
    while (all.size() < bytes && read(stream, part, room).status == IoStatus::kDone) all += part;
    return all;
  }
  static Io write(RecordStream& stream, const std::string& text) {
    return stream.write(std::as_bytes(std::span(text)));
  }
  /// The bytes of what a_ sends.
  std::string sealed(const std::string& text) {
    EXPECT_EQ(write(*a_, text).bytes, text.size());
    return off_the_wire();
  }
  std::string off_the_wire() const {
    std::string bytes(200'000, '\0');
    if (!wait(wire_.b.get(), POLLIN)) return {};
    const ssize_t n = ::recv(wire_.b.get(), bytes.data(), bytes.size(), 0);
    return bytes.substr(0, n > 0 ? static_cast<std::size_t>(n) : 0);
  }
  void deliver(const std::string& bytes) const {
    EXPECT_EQ(::send(pair_.a.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  }
  /// The alert that b_ sent, in clear: by an a_ that reads from where b_ writes to.
  int alert_of_b() {
    auto reader = RecordStream::create(pair_.a, ktls::keys_of(version(), cipher(), true));
    std::string ignored;
    EXPECT_EQ(read(*reader, ignored).status, IoStatus::kBroken);
    return reader->notes().incoming_alert;
  }
  void expect_refused(Trouble why, int alert) {
    std::string text;
    EXPECT_EQ(read(*b_, text).status, IoStatus::kBroken);
    EXPECT_EQ(text, "");
    EXPECT_EQ(b_->trouble(), why);
    EXPECT_EQ(write(*b_, "more").status, IoStatus::kBroken);
    EXPECT_EQ(alert_of_b(), alert);
  }

  ktls::Pair pair_;
  ktls::Pair wire_;
  std::unique_ptr<RecordStream> a_;
  std::unique_ptr<RecordStream> b_;
  std::string text_;
};

TEST_P(RecordStreams, CarryEverySizeBothWays) {
  connect();
  for (const std::size_t size : {1U, 64U, 16'383U, 16'384U, 16'385U, 65'536U}) {
    const std::string sent(size, static_cast<char>('a' + size % 26));
    EXPECT_EQ(write(*a_, sent).bytes, size);
    EXPECT_EQ(read_all(*b_, size), sent);
    EXPECT_EQ(write(*b_, sent).bytes, size);
    EXPECT_EQ(read_all(*a_, size), sent);
  }
  EXPECT_TRUE(a_->drained());
}

TEST_P(RecordStreams, GiveASmallReaderAllInParts) {
  connect();
  std::string sent;
  for (int i = 0; i < 50'000; ++i) sent += static_cast<char>(i * 7);
  write(*a_, sent);
  read(*b_, text_, 999);
  std::string received = text_;
  while (!b_->drained()) {  // until then a reader must not wait
    std::string buffer(999, '\0');
    const Io io = b_->read(std::as_writable_bytes(std::span(buffer)));
    ASSERT_TRUE(io.status == IoStatus::kDone || received.size() == sent.size());
    received += buffer.substr(0, io.bytes);
  }
  EXPECT_EQ(received, sent);
  a_->end_write();
  EXPECT_EQ(read(*b_, text_, 999).status, IoStatus::kEnd);
}

TEST_P(RecordStreams, TakeRecordsByteByByte) {
  connect_through_us();
  const std::string bytes = sealed("question") + sealed("more");
  for (const char byte : bytes) {
    deliver({byte});
    std::string buffer(100, '\0');
    const Io io = b_->read(std::as_writable_bytes(std::span(buffer)));
    text_ += buffer.substr(0, io.bytes);
    EXPECT_TRUE(io.status == IoStatus::kDone || io.status == IoStatus::kWantRead);
  }
  EXPECT_EQ(text_, "questionmore");
}

TEST_P(RecordStreams, EndOneDirectionAndGoOnInTheOther) {
  connect();
  write(*a_, "last");
  EXPECT_EQ(a_->end_write().status, IoStatus::kDone);
  read(*b_, text_);
  EXPECT_EQ(text_, "last");
  EXPECT_EQ(read(*b_, text_).status, IoStatus::kEnd);
  write(*b_, "still here");
  EXPECT_EQ(read(*a_, text_).status, IoStatus::kDone);
  EXPECT_EQ(text_, "still here");
}

TEST_P(RecordStreams, TellATruncationFromAnEnd) {
  connect_through_us();
  deliver(sealed("part") + sealed("cut").substr(0, 10));
  ::shutdown(pair_.a.get(), SHUT_WR);
  EXPECT_EQ(read(*b_, text_).status, IoStatus::kDone);
  EXPECT_EQ(text_, "part");
  EXPECT_EQ(read(*b_, text_).status, IoStatus::kTruncated);
}

TEST_P(RecordStreams, TellAResetFromATruncation) {
  connect_through_us();
  net::reset_on_close(pair_.a.get());
  pair_.a.reset();
  EXPECT_EQ(read(*b_, text_).status, IoStatus::kReset);
}

TEST_P(RecordStreams, BreakAtEveryDamagedByte) {
  for (const std::size_t place : {kHeaderBytes, std::size_t{12}, std::size_t{24}}) {
    pair_ = ktls::Pair();
    wire_ = ktls::Pair();
    nonblocking(pair_.b.get());
    connect_through_us();
    const std::string good = sealed("good");
    std::string bad = sealed("damaged");
    bad[place] = static_cast<char>(bad[place] ^ 1);
    deliver(good + bad);
    EXPECT_EQ(read(*b_, text_).status, IoStatus::kDone);
    EXPECT_EQ(text_, "good");
    expect_refused(Trouble::kBadRecord, ktls::kBadRecordMac);
  }
}

TEST_P(RecordStreams, BreakAtARecordTwice) {
  connect_through_us();
  const std::string once = sealed("once");
  deliver(once + once);
  read(*b_, text_);
  EXPECT_EQ(text_, "once");
  expect_refused(Trouble::kBadRecord, ktls::kBadRecordMac);
}

TEST_P(RecordStreams, BreakAtALengthThatNoRecordHas) {
  connect_through_us();
  deliver({'\x17', '\x03', '\x03', '\x7f', '\xff'});
  expect_refused(Trouble::kBadRecord, ktls::kRecordOverflow);
}

TEST_P(RecordStreams, BreakAtWhatIsNoRecordBeforeAllOfItIsThere) {
  connect_through_us();
  deliver("GET / HTTP/1.1\r\n");
  expect_refused(Trouble::kUnexpectedRecord, ktls::kUnexpectedMessage);
}

TEST_P(RecordStreams, BreakAtARecordThatIsTooShortToBeSealed) {
  connect_through_us();
  deliver({'\x17', '\x03', '\x03', '\x00', '\x02', '\x01', '\x00'});
  expect_refused(Trouble::kBadRecord, ktls::kBadRecordMac);
}

TEST_P(RecordStreams, ChangeTheKeyWhenItHasProtectedEnough) {
  connect(4);
  for (int i = 0; i < 20; ++i) {
    if (write(*a_, "word").status != IoStatus::kDone) break;
    read(*b_, text_);
    EXPECT_EQ(text_, "word") << i;
  }
  const bool limited = cipher() != Cipher::kChacha20Poly1305;
  const bool changes = version() == Version::kTls13;
  EXPECT_EQ(a_->notes().key_updates_sent, limited && changes ? 4u : 0u);
  EXPECT_EQ(b_->notes().key_updates_received, limited && changes ? 4u : 0u);
  EXPECT_EQ(a_->notes().key_limit_reached, limited && !changes);
  if (!limited || changes) return;
  EXPECT_EQ(read(*b_, text_).status, IoStatus::kBroken);
  EXPECT_EQ(b_->notes().trouble, "fatal alert internal_error");
}

TEST_P(RecordStreams, LoseNothingWhenTheSocketTakesAPart) {
  connect();
  const int little = 4096;
  ::setsockopt(a_->fd(), SOL_SOCKET, SO_SNDBUF, &little, sizeof little);
  std::string sent;
  for (int i = 0; i < 700'000; ++i) sent += static_cast<char>(i * 11 + i / 256);
  std::string received;
  std::size_t put = 0;
  int waits = 0;
  while (received.size() < sent.size()) {
    if (put < sent.size()) {
      const Io io =
          a_->write(std::as_bytes(std::span(sent)).subspan(put, std::min(sent.size() - put, 65'536ul)));
      ASSERT_TRUE(io.status == IoStatus::kDone || io.status == IoStatus::kWantWrite);
      put += io.bytes;
      waits += io.status == IoStatus::kWantWrite ? 1 : 0;
    }
    std::string buffer(65'536, '\0');
    const Io io = b_->read(std::as_writable_bytes(std::span(buffer)));
    ASSERT_TRUE(io.status == IoStatus::kDone || io.status == IoStatus::kWantRead);
    received += buffer.substr(0, io.bytes);
  }
  EXPECT_TRUE(received == sent);
  EXPECT_GT(waits, 1);
  while (a_->end_write().status == IoStatus::kWantWrite) read(*b_, text_);
  EXPECT_EQ(read(*b_, text_).status, IoStatus::kEnd);
}

/// Records wait in the stream: the end must not overtake them, whether the socket has room again or not.
TEST_P(RecordStreams, EndBehindWhatWaits) {
  for (const bool room : {false, true}) {
    pair_ = ktls::Pair();
    nonblocking(pair_.a.get());
    nonblocking(pair_.b.get());
    connect();
    const std::string much(65'536, 'm');
    std::size_t sent = much.size();  // the last write's, which waits
    Io io;
    while (io.status == IoStatus::kDone) sent += (io = write(*a_, much)).bytes;
    EXPECT_EQ(io.status, IoStatus::kWantWrite);
    std::string all;
    while (room && !wait(a_->fd(), POLLOUT, 0) && read(*b_, text_).status == IoStatus::kDone) all += text_;
    io = a_->end_write();
    if (!room) EXPECT_EQ(io.status, IoStatus::kWantWrite);
    while (io.status == IoStatus::kWantWrite && read(*b_, text_).status == IoStatus::kDone) {
      all += text_;
      io = a_->end_write();
    }
    EXPECT_EQ(io.status, IoStatus::kDone);
    while ((io = read(*b_, text_)).status == IoStatus::kDone) all += text_;
    EXPECT_EQ(io.status, IoStatus::kEnd);
    EXPECT_EQ(all.size(), sent);
  }
}

INSTANTIATE_TEST_SUITE_P(Own, RecordStreams,
                         testing::Combine(testing::Values(Version::kTls12, Version::kTls13),
                                          testing::Values(Cipher::kAes128Gcm, Cipher::kAes256Gcm,
                                                          Cipher::kChacha20Poly1305)));

}  // namespace
}  // namespace tlsplice::tls
