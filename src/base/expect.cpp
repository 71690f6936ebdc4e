#include "tlsplice/base/expect.hpp"

#include <cstdio>
#include <cstdlib>

namespace tlsplice::base {

void broken(const char* condition, const char* sentence, const char* file, int line) {
  std::fprintf(stderr, "tlsplice: bug: %s (%s at %s:%d)\n", sentence, condition, file, line);
  std::abort();
}

}  // namespace tlsplice::base
