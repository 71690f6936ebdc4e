#include "tlsplice/base/shared_rows.hpp"

#include <sys/mman.h>

#include <cerrno>

namespace tlsplice::base {

Result<void*> map_shared(int fd, std::size_t size) {
  const int flags = fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED;
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, fd, 0);
  if (memory == MAP_FAILED) return fail(Error::system("map shared memory", errno));
  return memory;  // fresh pages are zero, and so is a fresh BPF array
}

void unmap_shared(void* memory, std::size_t size) {
  ::munmap(memory, size);
}

}  // namespace tlsplice::base
