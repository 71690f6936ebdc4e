// What this kernel does with TLS, found out by doing it: on connected pairs over loopback, with keys of
// zeroes, each question on a pair of its own. Nothing is left behind.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "records.hpp"
#include "tlsplice/ktls/kernel.hpp"
#include "tlsplice/net/socket.hpp"

namespace tlsplice::ktls {
namespace {

constexpr int kPatienceMs = 1000;    // for what happens at once on loopback, on a machine that is busy
constexpr int kNothingComesMs = 20;  // after which nothing comes any more
constexpr std::array kCloseNotifyAlert{std::byte{1}, std::byte{0}};

using Pair = std::pair<base::Fd, base::Fd>;

bool readable(int fd, int patience_ms) {
  pollfd state{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&state, 1, patience_ms) == 1 && (state.revents & POLLIN) != 0;
}

base::Result<Pair> loopback_pair() {
  auto listener = net::listen(net::Address::parse("127.0.0.1", 0).value());
  if (!listener) return base::fail(listener.error());
  const net::Address address = net::local_address(listener->get());
  base::Fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!client || ::connect(client.get(), address.data(), address.size()) != 0) {
    return base::fail(base::Error::system("connect on loopback", errno));
  }
  // connect() may return before our end is in the queue: the last packet of the handshake can be on its way.
  (void)readable(listener->get(), kPatienceMs);
  auto accepted = net::accept(listener->get());
  if (!accepted) return base::fail(base::Error::system("accept on loopback", accepted.error()));
  return Pair(std::move(client), std::move(accepted->socket));
}

/// Whether keys are taken, and in `again` whether a second time.
bool takes(Way way, Version version, Cipher cipher, bool& again) {
  auto pair = loopback_pair();
  if (!pair || attach(pair->first.get()) != 0) return false;
  if (install(pair->first.get(), way, version, cipher, {}) != 0) return false;
  again = install(pair->first.get(), way, version, cipher, {}) == 0;
  return true;
}

/// A pair whose second end decrypts in the kernel; the first encrypts there when asked to.
base::Result<Pair> receiving_pair(Version version, bool sends) {
  auto pair = loopback_pair();
  if (!pair) return pair;
  const auto key = [version](const base::Fd& socket, Way way) {
    const int error = attach(socket.get());
    return error != 0 ? error : install(socket.get(), way, version, Cipher::kAes128Gcm, {});
  };
  int error = key(pair->second, Way::kReceive);
  if (error == 0 && sends) error = key(pair->first, Way::kSend);
  if (error != 0) return base::fail(base::Error::system("install keys", error));
  return pair;
}

bool wakes_for_half_a_record() {
  auto pair = receiving_pair(Version::kTls12, false);
  constexpr char kHeader[] = {23, 3, 3, 1, 0};  // 256 bytes that never come
  if (!pair || ::send(pair->first.get(), kHeader, sizeof kHeader, MSG_NOSIGNAL) < 0) return false;
  return readable(pair->second.get(), kNothingComesMs);
}

bool receives_alert(int socket) {
  std::array<std::byte, 16> body{};
  const Received received = receive_record(socket, body);
  return received.bytes == std::ssize(kCloseNotifyAlert) && received.type == kAlertRecord &&
         std::ranges::equal(kCloseNotifyAlert, std::span(body).first(kCloseNotifyAlert.size()));
}

void try_splice(Support& support) {
  auto pair = receiving_pair(Version::kTls12, true);
  int ends[2];
  if (!pair || ::pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return;
  const base::Fd out(ends[0]);
  const base::Fd in(ends[1]);
  const auto splice = [&pair, &in] {
    constexpr std::size_t kPlenty = 4096;
    const int from = pair->second.get();
    if (!readable(from, kPatienceMs)) return -ETIME;
    const ssize_t n = ::splice(from, nullptr, in.get(), nullptr, kPlenty, SPLICE_F_NONBLOCK);
    return n < 0 ? -errno : static_cast<int>(n);
  };
  if (::send(pair->first.get(), "data", 4, MSG_NOSIGNAL) != 4) return;
  support.splices = splice() == 4;
  if (!support.splices || !send_record(pair->first.get(), kAlertRecord, kCloseNotifyAlert)) return;
  support.keeps_records = splice() == -EINVAL && receives_alert(pair->second.get());
}

void try_ciphers(Support& support) {
  for (const Way way : {Way::kSend, Way::kReceive}) {
    for (const Version version : {Version::kTls12, Version::kTls13}) {
      for (const Cipher cipher : {Cipher::kAes128Gcm, Cipher::kAes256Gcm, Cipher::kChacha20Poly1305}) {
        bool again = false;
        const bool taken = takes(way, version, cipher, again);
        support.ciphers[static_cast<int>(way)][static_cast<int>(version)][static_cast<int>(cipher)] = taken;
        if (version == Version::kTls13) support.rekeys[static_cast<int>(way)] = again;
      }
    }
  }
}

std::string explain(int error) {
  if (error == ENOENT) {
    return "this kernel has no TLS, or its module is not loaded; as root: modprobe tls, and for every boot: "
           "echo tls > /etc/modules-load.d/tls.conf";
  }
  return base::Error::system("attach the tls ULP", error).text();
}

}  // namespace

Support probe() {
  Support support;
  auto pair = loopback_pair();
  const int error = pair ? attach(pair->first.get()) : 0;
  if (!pair || error != 0) {
    support.why_not = pair ? explain(error) : pair.error().text();
    return support;
  }
  support.ulp = true;
  try_ciphers(support);
  support.rekey = support.rekeys[0] && support.rekeys[1];
  try_splice(support);
  support.wakes_early = wakes_for_half_a_record();
  auto padded = receiving_pair(Version::kTls13, false);
  support.takes_no_padding = padded && expect_no_padding(padded->second.get());
  return support;
}

}  // namespace tlsplice::ktls
