// One netlink socket, and the one place that knows how libnl asks and how the kernel answers: parts of a
// dump, an error, an error at the end of a dump. What libnl makes is freed here.
#pragma once

#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>

#include <functional>
#include <memory>

#include "tlsplice/base/result.hpp"

namespace tlsplice::netlink {

template <auto Function>
struct FreedBy {
  template <typename T>
  void operator()(T* memory) const {
    Function(memory);
  }
};

using Message = std::unique_ptr<nl_msg, FreedBy<nlmsg_free>>;

class Connection {
 public:
  /// `protocol` is NETLINK_SOCK_DIAG and the like.
  static base::Result<Connection> open(int protocol);

  /// Sends the request and hands every answer to `each`, until the last one. `doing` is what people read in
  /// front of an error.
  base::Result<void> ask(const char* doing, nl_msg* request, const std::function<void(nlmsghdr*)>& each);

  nl_sock* get() { return socket_.get(); }

 private:
  std::unique_ptr<nl_sock, FreedBy<nl_socket_free>> socket_;
};

/// An error that libnl itself reports (NLE_*, negative).
base::Error library_error(const char* doing, int error);

}  // namespace tlsplice::netlink
