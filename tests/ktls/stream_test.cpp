// Promised: a KtlsStream carries data both ways and obeys every other record: close_notify is an end, a bare
// FIN a truncation, a fatal alert or a damaged record breaks it, a ticket is passed over, a KeyUpdate re-keys
// where the kernel can and ends the stream with an alert where it cannot. Needs kernel TLS: tools/vm runs it
// where this machine has none.
#include "tlsplice/ktls/stream.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/tls.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <string>

#include "pair.hpp"

namespace tlsplice::ktls {
namespace {

using net::Io;
using net::IoStatus;

struct Case {
  Version version;
  Cipher cipher;
};

class Streams : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    support_ = probe();
    if (!support_.ulp) GTEST_SKIP() << support_.why_not;
    int ends[2] = {-1, -1};
    ASSERT_EQ(::pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    pipe_read_ = base::Fd(ends[0]);
    pipe_write_ = base::Fd(ends[1]);
    a_ = make(std::move(pair_.a), true);
    b_ = make(std::move(pair_.b), false);
  }

  std::unique_ptr<KtlsStream> make(base::Fd socket, bool first,
                                   std::uint64_t records_per_key = kRecordsPerKeyMax) {
    const TrafficKeys keys = keys_of(GetParam().version, GetParam().cipher, first);
    EXPECT_EQ(attach(socket.get()), 0);
    EXPECT_EQ(install(socket.get(), Way::kReceive, keys.version, keys.cipher, keys.receive), 0);
    EXPECT_EQ(install(socket.get(), Way::kSend, keys.version, keys.cipher, keys.send), 0);
    return std::make_unique<KtlsStream>(std::move(socket), keys, support_, records_per_key);
  }

  static Io read(KtlsStream& stream, std::string& text) {
    std::array<std::byte, 65536> buffer{};
    for (;;) {
      pollfd state{.fd = stream.fd(), .events = POLLIN, .revents = 0};
      if (::poll(&state, 1, 2000) != 1) return {IoStatus::kWantRead, 0};
      const Io io = stream.read(buffer);
      if (io.status == IoStatus::kWantRead) continue;
      text.assign(reinterpret_cast<const char*>(buffer.data()), io.bytes);
      return io;
    }
  }

  /// As the relay does it, into `pipe`.
  Io splice_out(KtlsStream& stream) {
    pollfd state{.fd = stream.fd(), .events = POLLIN, .revents = 0};
    if (::poll(&state, 1, 2000) != 1) return {IoStatus::kWantRead, 0};
    const ssize_t n = ::splice(stream.fd(), nullptr, pipe_write_.get(), nullptr, 65536, SPLICE_F_NONBLOCK);
    return stream.spliced_out(n < 0 ? -errno : n);
  }
  std::string in_pipe() {
    std::array<char, 65536> bytes{};
    const ssize_t n = ::read(pipe_read_.get(), bytes.data(), bytes.size());
    return {bytes.data(), n > 0 ? static_cast<std::size_t>(n) : 0};
  }

  static Io write(KtlsStream& stream, const std::string& text) {
    return stream.write(std::as_bytes(std::span(text)));
  }

  static void send_record(int socket, unsigned char type, const std::string& body) {
    iovec part{.iov_base = const_cast<char*>(body.data()), .iov_len = body.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(1)> control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_TLS;
    header->cmsg_type = TLS_SET_RECORD_TYPE;
    header->cmsg_len = CMSG_LEN(1);
    std::memcpy(CMSG_DATA(header), &type, 1);
    EXPECT_EQ(::sendmsg(socket, &message, 0), static_cast<ssize_t>(body.size()));
  }

  base::Fd pipe_read_;
  base::Fd pipe_write_;
  Pair pair_;
  Support support_;
  std::unique_ptr<KtlsStream> a_;
  std::unique_ptr<KtlsStream> b_;
  std::string text_;
};

TEST_P(Streams, CarryDataBothWays) {
  const std::string question(10'000, 'q');
  EXPECT_EQ(write(*a_, question).bytes, question.size());
  EXPECT_EQ(read(*b_, text_).status, IoStatus::kDone);
  EXPECT_EQ(text_, question);
  write(*b_, "answer");
  read(*a_, text_);
  EXPECT_EQ(text_, "answer");
}

TEST_P(Streams, EndOneDirectionAndGoOnInTheOther) {
  write(*a_, "last");
  EXPECT_EQ(a_->end_write().status, IoStatus::kDone);
  read(*b_, text_);
  EXPECT_EQ(text_, "last");
  EXPECT_EQ(read(*b_, text_).status, IoStatus::kEnd);
  write(*b_, "still here");
  EXPECT_EQ(read(*a_, text_).status, IoStatus::kDone);
  EXPECT_EQ(text_, "still here");
}

TEST_P(Streams, TellATruncationFromAnEnd) {
  write(*a_, "part");
  ::shutdown(a_->fd(), SHUT_WR);
  read(*b_, text_);
  EXPECT_EQ(read(*b_, text_).status, IoStatus::kTruncated);
}

TEST_P(Streams, TellAResetFromATruncation) {
  net::reset_on_close(a_->fd());
  a_.reset();
  EXPECT_EQ(read(*b_, text_).status, IoStatus::kReset);
}

TEST_P(Streams, BreakAtAFatalAlert) {
  send_record(a_->fd(), 21, std::string("\2\50", 2));
  EXPECT_EQ(read(*b_, text_).status, IoStatus::kBroken);
  EXPECT_EQ(b_->trouble(), Trouble::kAlert);
}

TEST_P(Streams, BreakAtAnUnknownRecordAndSaySo) {
  send_record(a_->fd(), 24, "heartbeat");
  EXPECT_EQ(read(*b_, text_).status, IoStatus::kBroken);
  EXPECT_EQ(b_->trouble(), Trouble::kUnexpectedRecord);
  EXPECT_EQ(read(*a_, text_).status, IoStatus::kBroken);  // the alert
  EXPECT_EQ(a_->trouble(), Trouble::kAlert);
}

TEST_P(Streams, BreakAtADamagedRecord) {
  const TrafficKeys wrong = keys_of(GetParam().version, GetParam().cipher, false);
  Pair other;
  ASSERT_EQ(attach(other.a.get()), 0);
  ASSERT_EQ(install(other.a.get(), Way::kSend, wrong.version, wrong.cipher, wrong.send), 0);
  auto reader = make(std::move(other.b), false);
  EXPECT_EQ(::send(other.a.get(), "hello", 5, 0), 5);
  EXPECT_EQ(read(*reader, text_).status, IoStatus::kBroken);
  EXPECT_EQ(reader->trouble(), Trouble::kBadRecord);
}

TEST_P(Streams, PassOverTicketsAndEmptyRecords) {
  if (GetParam().version != Version::kTls13) GTEST_SKIP() << "TLS 1.3 only";
  send_record(a_->fd(), 22, std::string("\4\0\0\1x", 5));
  send_record(a_->fd(), 22, std::string("\4\0\0\1y", 5));
  write(*a_, "behind the tickets");
  EXPECT_EQ(read(*b_, text_).status, IoStatus::kDone);
  EXPECT_EQ(text_, "behind the tickets");
}

TEST_P(Streams, RefuseToRenegotiateAndGoOn) {
  if (GetParam().version != Version::kTls12) GTEST_SKIP() << "TLS 1.2 only";
  for (int i = 0; i < 4; ++i) send_record(a_->fd(), 22, std::string("\1\0\0\1x", 5));
  write(*a_, "go on");
  EXPECT_EQ(read(*b_, text_).status, IoStatus::kDone);
  EXPECT_EQ(text_, "go on");
  write(*b_, "gladly");
  EXPECT_EQ(read(*a_, text_).status, IoStatus::kDone);  // the four refusals are warnings
  EXPECT_EQ(text_, "gladly");
  send_record(a_->fd(), 22, std::string("\1\0\0\1x", 5));
  EXPECT_EQ(read(*b_, text_).status, IoStatus::kBroken);
}

TEST_P(Streams, AnswerAKeyUpdateAsTheKernelAllows) {
  if (GetParam().version != Version::kTls13) GTEST_SKIP() << "TLS 1.3 only";
  TrafficKeys keys = keys_of(GetParam().version, GetParam().cipher, true);
  send_record(a_->fd(), 22, std::string("\30\0\0\1\1", 5));  // and ours is requested
  if (!support_.rekey) {
    EXPECT_EQ(read(*b_, text_).status, IoStatus::kBroken);
    EXPECT_EQ(b_->trouble(), Trouble::kKeyUpdate);
    return;
  }
  next_generation(keys.cipher, keys.send);
  ASSERT_EQ(install(a_->fd(), Way::kSend, keys.version, keys.cipher, keys.send), 0);
  write(*a_, "under the new key");
  EXPECT_EQ(read(*b_, text_).status, IoStatus::kDone);
  EXPECT_EQ(text_, "under the new key");
  EXPECT_EQ(b_->notes().key_updates_received, 1U);
  write(*b_, "so is this");
  EXPECT_EQ(read(*a_, text_).status, IoStatus::kDone);
  EXPECT_EQ(text_, "so is this");
}

TEST_P(Streams, AreSplicedOutOfRecordByRecord) {
  write(*a_, "one");
  EXPECT_EQ(splice_out(*b_).bytes, 3U);
  EXPECT_EQ(in_pipe(), "one");
}

TEST_P(Streams, LeaveToTheReadWhatTheSpliceStopsAt) {
  write(*a_, "before");
  if (GetParam().version == Version::kTls13) send_record(a_->fd(), 22, std::string("\4\0\0\1x", 5));
  write(*a_, "after");
  EXPECT_EQ(a_->end_write().status, IoStatus::kDone);
  EXPECT_EQ(splice_out(*b_).bytes, 6U);
  EXPECT_EQ(in_pipe(), "before");
  if (GetParam().version == Version::kTls13) {
    const Io stopped = splice_out(*b_);
    EXPECT_EQ(stopped.status, IoStatus::kDone);
    EXPECT_EQ(stopped.bytes, 0U);
    EXPECT_EQ(read(*b_, text_).status, IoStatus::kDone);
    EXPECT_EQ(text_, "after");
  } else {
    EXPECT_EQ(splice_out(*b_).bytes, 5U);
  }
  EXPECT_EQ(splice_out(*b_).bytes, 0U);  // the close_notify
  EXPECT_EQ(read(*b_, text_).status, IoStatus::kEnd);
}

TEST_P(Streams, TellATruncationThatTheSpliceMet) {
  ::shutdown(a_->fd(), SHUT_WR);
  const Io stopped = splice_out(*b_);
  EXPECT_EQ(stopped.status, IoStatus::kDone);
  EXPECT_EQ(stopped.bytes, 0U);
  EXPECT_EQ(read(*b_, text_).status, IoStatus::kTruncated);
}

TEST_P(Streams, BreakAtADamagedRecordThatTheSpliceMet) {
  const TrafficKeys wrong = keys_of(GetParam().version, GetParam().cipher, false);
  for (const bool tls : {true, false}) {
    Pair other;
    if (tls) {
      ASSERT_EQ(attach(other.a.get()), 0);
      ASSERT_EQ(install(other.a.get(), Way::kSend, wrong.version, wrong.cipher, wrong.send), 0);
    }
    auto reader = make(std::move(other.b), false);
    EXPECT_EQ(::send(other.a.get(), "GET / HTTP/1.1", 14, 0), 14);
    Io io = splice_out(*reader);
    std::array<std::byte, 100> buffer{};
    if (io.status == IoStatus::kDone) io = reader->read(buffer);  // without waiting: nothing would come
    EXPECT_EQ(io.status, IoStatus::kBroken) << (tls ? "a bad MAC" : "no TLS at all");
    EXPECT_EQ(reader->trouble(), Trouble::kBadRecord);
  }
}

TEST_P(Streams, BreakAtAFloodOfKeyUpdates) {
  if (GetParam().version != Version::kTls13 || !support_.rekey) GTEST_SKIP() << "needs re-keying";
  TrafficKeys keys = keys_of(GetParam().version, GetParam().cipher, true);
  Io last;
  int sent = 0;
  for (; sent < 100 && last.status != IoStatus::kBroken; ++sent) {
    send_record(a_->fd(), 22, std::string("\30\0\0\1\0", 5));
    next_generation(keys.cipher, keys.send);
    ASSERT_EQ(install(a_->fd(), Way::kSend, keys.version, keys.cipher, keys.send), 0);
    std::array<std::byte, 100> buffer{};
    last = b_->read(buffer);
  }
  EXPECT_EQ(b_->trouble(), Trouble::kKeyUpdateFlood);
  EXPECT_GT(sent, 32);
}

/// Sends until the limit has been met several times over; what it met.
Io send_many(KtlsStream& from, const std::function<Io(const std::string&)>& receive) {
  for (int i = 0; i < 1000; ++i) {
    const std::string bytes = std::to_string(i);
    const Io io = from.write(std::as_bytes(std::span(bytes)));
    if (io.status != IoStatus::kDone) return io;
    const Io taken = receive(bytes);
    if (taken.status != IoStatus::kDone) return taken;
  }
  return {};
}

TEST_P(Streams, ChangeTheirKeyBeforeItHasProtectedTooMuch) {
  Pair other;
  auto from = make(std::move(other.a), true, 100);
  auto to = make(std::move(other.b), false);
  const Io io = send_many(*from, [&](const std::string& sent) {
    const Io taken = read(*to, text_);
    EXPECT_EQ(text_, sent);
    return taken;
  });
  if (GetParam().cipher == Cipher::kChacha20Poly1305) {
    EXPECT_EQ(io.status, IoStatus::kDone) << "that cipher has no such limit";
    EXPECT_EQ(from->notes().key_updates_sent, 0U);
  } else if (GetParam().version == Version::kTls13 && support_.rekey) {
    EXPECT_EQ(io.status, IoStatus::kDone);
    EXPECT_EQ(from->notes().key_updates_sent, 9U);
    EXPECT_EQ(to->notes().key_updates_received, 9U);
  } else {
    EXPECT_EQ(io.status, IoStatus::kBroken);
    EXPECT_TRUE(from->notes().key_limit_reached);
    EXPECT_EQ(from->may_splice_in().status, IoStatus::kBroken);
    EXPECT_EQ(read(*to, text_).status, IoStatus::kBroken);
    EXPECT_EQ(to->notes().trouble, "fatal alert internal_error");
  }
}

INSTANTIATE_TEST_SUITE_P(Kernel, Streams,
                         testing::Values(Case{Version::kTls12, Cipher::kAes128Gcm},
                                         Case{Version::kTls12, Cipher::kChacha20Poly1305},
                                         Case{Version::kTls13, Cipher::kAes128Gcm},
                                         Case{Version::kTls13, Cipher::kAes256Gcm},
                                         Case{Version::kTls13, Cipher::kChacha20Poly1305}));

}  // namespace
}  // namespace tlsplice::ktls
