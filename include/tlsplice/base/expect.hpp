// TLSPLICE_EXPECT holds in every build: a broken invariant prints one sentence and aborts, and the master
// starts a fresh worker. Expected outcomes are values (result.hpp), never this.
#pragma once

namespace tlsplice::base {

[[noreturn]] void broken(const char* condition, const char* sentence, const char* file, int line);

}  // namespace tlsplice::base

#define TLSPLICE_EXPECT(condition, sentence)           \
  (static_cast<bool>(condition) ? static_cast<void>(0) \
                                : ::tlsplice::base::broken(#condition, sentence, __FILE_NAME__, __LINE__))
