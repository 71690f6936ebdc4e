#include "descriptors.hpp"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace tlsplice::admin {
namespace {

constexpr std::size_t kControlBytes = CMSG_SPACE(kDescriptorsPerMessage * sizeof(int));

}  // namespace

ssize_t send_with(int socket, std::span<const char> bytes, std::span<const base::Fd> descriptors) {
  iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[kControlBytes] = {};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    const std::size_t size = descriptors.size() * sizeof(int);
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(size);
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(size);
    unsigned char* place = CMSG_DATA(header);
    for (const base::Fd& descriptor : descriptors) {
      const int number = descriptor.get();
      std::memcpy(place, &number, sizeof number);
      place += sizeof number;
    }
  }
  const ssize_t sent = ::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  return sent < 0 ? -errno : sent;
}

ssize_t receive_with(int socket, std::span<char> into, std::vector<base::Fd>& descriptors) {
  iovec piece{into.data(), into.size()};
  alignas(cmsghdr) char control[kControlBytes] = {};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t received = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  if (received < 0) return -errno;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const unsigned char* place = CMSG_DATA(header);
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i, place += sizeof(int)) {
      int number = -1;
      std::memcpy(&number, place, sizeof number);
      descriptors.emplace_back(number);
    }
  }
  return received;
}

}  // namespace tlsplice::admin
