// A name server of the tests, on loopback, over UDP and TCP: it answers each question with whatever bytes the
// test makes of it. Runs in the test's own thread, between turns of what is tested.
#pragma once

#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tlsplice/base/expect.hpp"
#include "tlsplice/base/fd.hpp"
#include "tlsplice/net/address.hpp"
#include "tlsplice/net/socket.hpp"

namespace tlsplice::resolver {

inline constexpr std::uint16_t kA = 1;
inline constexpr std::uint16_t kCname = 5;
inline constexpr std::uint16_t kAaaa = 28;
inline constexpr std::uint16_t kNameError = 3;
inline constexpr std::uint16_t kTruncated = 0x0200;

inline std::string big_endian(std::uint32_t number, std::size_t bytes) {
  std::string out;
  for (; bytes > 0; --bytes) out += static_cast<char>(number >> (8 * (bytes - 1)));
  return out;
}

/// "app.test" as it is on the wire.
inline std::string on_the_wire(std::string_view name) {
  std::string out;
  while (!name.empty()) {
    const std::string_view label = name.substr(0, name.find('.'));
    out += static_cast<char>(label.size());
    out += label;
    name.remove_prefix(std::min(label.size() + 1, name.size()));
  }
  return out + '\0';
}

struct Question {
  std::string packet;  // as it came
  bool tcp = false;

  /// The type is behind the name, which no pointer shortens.
  std::uint16_t type() const {
    const std::size_t end = packet.find('\0', 12);
    return static_cast<std::uint16_t>(static_cast<unsigned char>(packet[end + 1]) << 8 |
                                      static_cast<unsigned char>(packet[end + 2]));
  }
  /// A record about what was asked for, or about another name.
  static std::string record(std::uint16_t type, std::uint32_t ttl, const std::string& data,
                            const std::string& owner = "\xc0\x0c") {
    return owner + big_endian(type, 2) + big_endian(1, 2) + big_endian(ttl, 4) +
           big_endian(static_cast<std::uint32_t>(data.size()), 2) + data;
  }
  static std::string address(std::string_view host, std::uint32_t ttl,
                             const std::string& owner = "\xc0\x0c") {
    const auto parsed = net::Address::parse(host, 1).value();
    return record(parsed.family() == AF_INET ? kA : kAaaa, ttl, std::string(parsed.ip_bytes()), owner);
  }
  std::string answer(const std::vector<std::string>& records, std::uint16_t flags = 0) const {
    std::string out = packet.substr(0, 2) + big_endian(0x8180U | flags, 2) + big_endian(1, 2) +
                      big_endian(static_cast<std::uint32_t>(records.size()), 2) + big_endian(0, 4) +
                      packet.substr(12, packet.find('\0', 12) + 5 - 12);
    for (const std::string& record : records) out += record;
    return out;
  }
};

class FakeDns {
 public:
  /// What goes back; empty: nothing does.
  using Reply = std::function<std::string(const Question&)>;

  explicit FakeDns(Reply reply) : reply_(std::move(reply)) {
    auto listening = net::listen_alone(net::Address::parse("127.0.0.1", 0).value());
    TLSPLICE_EXPECT(listening.has_value(), "the tests can listen");
    tcp_ = std::move(*listening);
    const net::Address address = net::local_address(tcp_.get());
    servers_ = address.text();
    udp_ = base::Fd(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    TLSPLICE_EXPECT(::bind(udp_.get(), address.data(), address.size()) == 0, "that port is free for UDP too");
  }

  const std::string& servers() const { return servers_; }
  std::size_t questions() const { return questions_; }

  /// Waits for something on our sockets, or on `others`, and answers what there is to be answered.
  void turn(std::vector<pollfd>& others, int wait_ms) {
    std::vector<pollfd> all = others;
    for (const base::Fd* own : {&udp_, &tcp_, &client_})
      all.push_back({.fd = own->get(), .events = POLLIN, .revents = 0});
    ::poll(all.data(), all.size(), wait_ms);
    std::copy_n(all.begin(), others.size(), others.begin());
    serve_udp();
    serve_tcp();
  }

 private:
  void serve_udp() {
    std::string packet(65536, '\0');
    sockaddr_in from{};
    socklen_t size = sizeof from;
    auto* const peer = reinterpret_cast<sockaddr*>(&from);
    const ssize_t got = ::recvfrom(udp_.get(), packet.data(), packet.size(), 0, peer, &size);
    if (got <= 0) return;
    packet.resize(static_cast<std::size_t>(got));
    ++questions_;
    const std::string out = reply_({std::move(packet)});
    if (!out.empty()) ::sendto(udp_.get(), out.data(), out.size(), 0, peer, size);
  }
  /// One connection, one question; both come whole on loopback.
  void serve_tcp() {
    if (base::Fd client(::accept4(tcp_.get(), nullptr, nullptr, SOCK_CLOEXEC)); client)
      client_ = std::move(client);
    std::string packet(65536, '\0');
    const ssize_t got = client_ ? ::recv(client_.get(), packet.data(), packet.size(), MSG_DONTWAIT) : -1;
    if (got == 0) client_.reset();
    for (std::size_t at = 0; got > 2 && at + 2 < static_cast<std::size_t>(got);) {
      const auto length = static_cast<std::size_t>(static_cast<unsigned char>(packet[at]) << 8 |
                                                   static_cast<unsigned char>(packet[at + 1]));
      ++questions_;
      const std::string out = reply_({packet.substr(at + 2, length), true});
      const std::string framed = big_endian(static_cast<std::uint32_t>(out.size()), 2) + out;
      ::send(client_.get(), framed.data(), framed.size(), MSG_NOSIGNAL);
      at += 2 + length;
    }
  }

  Reply reply_;
  base::Fd udp_;
  base::Fd tcp_;
  base::Fd client_;
  std::string servers_;
  std::size_t questions_ = 0;
};

}  // namespace tlsplice::resolver
