#include "tlsplice/base/shared_rows.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

namespace tlsplice::base {

Result<SharedMemory> map_shared(int fd, std::size_t size) {
  Fd own(fd < 0 ? ::memfd_create("tlsplice-rows", MFD_CLOEXEC) : ::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!own) return fail(Error::system("make shared memory", errno));
  if (fd < 0 && ::ftruncate(own.get(), static_cast<off_t>(size)) != 0)
    return fail(Error::system("make shared memory", errno));
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, own.get(), 0);
  if (memory == MAP_FAILED) return fail(Error::system("map shared memory", errno));
  return SharedMemory{memory, std::move(own)};  // fresh pages are zero, and so is a fresh BPF array
}

void unmap_shared(void* memory, std::size_t size) {
  ::munmap(memory, size);
}

}  // namespace tlsplice::base
