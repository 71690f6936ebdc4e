#include "tlsplice/base/result.hpp"

#include <cerrno>
#include <system_error>

namespace tlsplice::base {
namespace {

Fault fault_of(int errnum) {
  switch (errnum) {
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
    case EADDRNOTAVAIL:  // connect(2): every local port towards this target is taken
      return Fault::kExhausted;
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
      return Fault::kRefused;
    case ECONNRESET:
    case EPIPE:
      return Fault::kReset;
    case ETIMEDOUT:
      return Fault::kTimedOut;
    case ECANCELED:
      return Fault::kStopped;
    default:
      return Fault::kSystem;
  }
}

}  // namespace

std::string Error::text() const {
  if (errnum == 0) return detail;
  return detail + ": " + std::generic_category().message(errnum);
}

Error Error::system(std::string doing, int errnum) {
  return {fault_of(errnum), errnum, std::move(doing)};
}

}  // namespace tlsplice::base
