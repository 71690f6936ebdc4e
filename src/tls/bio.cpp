#include "bio.hpp"

#include <sys/socket.h>

#include <cerrno>

namespace tlsplice::tls {
namespace {

SocketState& state_of(BIO* bio) {
  return *static_cast<SocketState*>(BIO_get_data(bio));
}

int read_socket(BIO* bio, char* into, std::size_t size, std::size_t* got) {
  SocketState& state = state_of(bio);
  BIO_clear_retry_flags(bio);
  if (state.reads_left == 0) {
    state.drained = false;
    BIO_set_retry_read(bio);
    return 0;
  }
  --state.reads_left;
  const ssize_t n = ::recv(state.fd, into, size, 0);
  if (n > 0) {
    state.drained = static_cast<std::size_t>(n) < size;
    *got = static_cast<std::size_t>(n);
    return 1;
  }
  state.drained = true;
  if (n == 0) {
    state.end = true;
  } else if (errno == EAGAIN || errno == EINTR) {
    BIO_set_retry_read(bio);
  } else {
    state.error = errno;
  }
  return 0;
}

int write_socket(BIO* bio, const char* from, std::size_t size, std::size_t* put) {
  SocketState& state = state_of(bio);
  BIO_clear_retry_flags(bio);
  const ssize_t n = ::send(state.fd, from, size, MSG_NOSIGNAL | (state.more ? MSG_MORE : 0));
  if (n >= 0) {
    *put = static_cast<std::size_t>(n);
    return 1;
  }
  if (errno == EAGAIN || errno == EINTR) {
    BIO_set_retry_write(bio);
  } else {
    state.error = errno;
  }
  return -1;  // not 0: only -1 makes SSL_shutdown try again (OpenSSL 3.0, ssl3_shutdown)
}

long control(BIO* bio, int command, long /*number*/, void* /*pointer*/) {
  switch (command) {
    case BIO_CTRL_FLUSH:
      return 1;  // nothing is held back
    case BIO_CTRL_EOF:
      return state_of(bio).end ? 1 : 0;
    default:
      return 0;  // among them BIO_CTRL_GET_KTLS_SEND and _RECV
  }
}

const BIO_METHOD* socket_method() {
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "tlsplice socket");
    BIO_meth_set_read_ex(made, read_socket);
    BIO_meth_set_write_ex(made, write_socket);
    BIO_meth_set_ctrl(made, control);
    return made;
  }();
  return method;
}

}  // namespace

BIO* new_socket_bio(SocketState* state) {
  BIO* bio = BIO_new(socket_method());
  if (bio == nullptr) return nullptr;
  BIO_set_data(bio, state);
  BIO_set_init(bio, 1);
  return bio;
}

}  // namespace tlsplice::tls
