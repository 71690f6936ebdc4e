#include "records.hpp"

#include <linux/tls.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace tlsplice::ktls {
namespace {

/// One part, and room for the type beside it.
struct Message {
  iovec part;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(std::uint8_t))> control{};
  msghdr header{};

  Message(void* bytes, std::size_t size) : part{.iov_base = bytes, .iov_len = size} {
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
  }
};

}  // namespace

/// Data without asking for the type, which costs less; of another record the kernel then says EIO, and keeps
/// it (trap 31).
Received receive_record(int socket, std::span<std::byte> into) {
  const ssize_t data = ::recv(socket, into.data(), into.size(), 0);
  if (data >= 0 || errno != EIO) return {data, data < 0 ? errno : 0, kDataRecord};
  Message message(into.data(), into.size());
  const ssize_t n = ::recvmsg(socket, &message.header, 0);
  Received received{n, n < 0 ? errno : 0, kDataRecord};
  if (received.error == EAGAIN) received.error = EIO;  // no record was meant: it was an error, told once
  const cmsghdr* type = n > 0 ? CMSG_FIRSTHDR(&message.header) : nullptr;
  if (type != nullptr && type->cmsg_level == SOL_TLS && type->cmsg_type == TLS_GET_RECORD_TYPE) {
    std::memcpy(&received.type, CMSG_DATA(type), sizeof received.type);
  }
  return received;
}

bool send_record(int socket, std::uint8_t type, std::span<const std::byte> body) {
  Message message(const_cast<std::byte*>(body.data()), body.size());
  cmsghdr* header = CMSG_FIRSTHDR(&message.header);
  header->cmsg_level = SOL_TLS;
  header->cmsg_type = TLS_SET_RECORD_TYPE;
  header->cmsg_len = CMSG_LEN(sizeof type);
  std::memcpy(CMSG_DATA(header), &type, sizeof type);
  return ::sendmsg(socket, &message.header, MSG_NOSIGNAL) == static_cast<ssize_t>(body.size());
}

}  // namespace tlsplice::ktls
