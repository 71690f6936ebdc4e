#include "connection.hpp"

#include <fmt/format.h>

#include <cerrno>

namespace tlsplice::netlink {
namespace {

// The kernel fills up to 32 KiB a part of a dump when the reader has that much room (af_netlink.c,
// netlink_dump); libnl's page would cost eight times the calls.
constexpr std::size_t kPartBytes = 64 * 1024;

struct Exchange {
  const std::function<void(nlmsghdr*)>& each;
  int errnum = 0;
};

int on_answer(nl_msg* message, void* argument) {
  static_cast<Exchange*>(argument)->each(nlmsg_hdr(message));
  return NL_OK;
}

/// A dump that failed says so in its last message (af_netlink.c, netlink_dump_done); libnl does not look.
int on_last(nl_msg* message, void* argument) {
  const nlmsghdr* header = nlmsg_hdr(message);
  if (nlmsg_datalen(header) >= static_cast<int>(sizeof(int))) {
    const int error = *static_cast<const int*>(nlmsg_data(header));
    if (error < 0) static_cast<Exchange*>(argument)->errnum = -error;
  }
  return NL_STOP;
}

int on_error(sockaddr_nl* /*from*/, nlmsgerr* error, void* argument) {
  static_cast<Exchange*>(argument)->errnum = -error->error;
  return NL_STOP;
}

}  // namespace

base::Error library_error(const char* doing, int error) {
  return {base::Fault::kSystem, 0, fmt::format("{}: {}", doing, nl_geterror(error))};
}

base::Result<Connection> Connection::open(int protocol) {
  Connection connection;
  connection.socket_.reset(nl_socket_alloc());
  nl_sock* socket = connection.get();
  if (socket == nullptr) return base::fail(base::Error::system("open a netlink socket", ENOMEM));
  nl_socket_disable_auto_ack(socket);  // an answer or an error is all that we wait for
  nl_socket_set_msg_buf_size(socket, kPartBytes);
  if (const int error = nl_connect(socket, protocol); error < 0) {
    return base::fail(library_error("open a netlink socket", error));
  }
  return connection;
}

base::Result<void> Connection::ask(const char* doing, nl_msg* request,
                                   const std::function<void(nlmsghdr*)>& each) {
  Exchange exchange{.each = each};
  const std::unique_ptr<nl_cb, FreedBy<nl_cb_put>> callbacks(nl_cb_alloc(NL_CB_DEFAULT));
  if (!callbacks) return base::fail(base::Error::system(doing, ENOMEM));
  nl_cb_set(callbacks.get(), NL_CB_VALID, NL_CB_CUSTOM, on_answer, &exchange);
  nl_cb_set(callbacks.get(), NL_CB_FINISH, NL_CB_CUSTOM, on_last, &exchange);
  nl_cb_err(callbacks.get(), NL_CB_CUSTOM, on_error, &exchange);
  int error = nl_send_auto(get(), request);
  if (error >= 0) error = nl_recvmsgs(get(), callbacks.get());
  if (exchange.errnum != 0) return base::fail(base::Error::system(doing, exchange.errnum));
  if (error < 0) return base::fail(library_error(doing, error));
  return {};
}

}  // namespace tlsplice::netlink
