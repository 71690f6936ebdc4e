// tlsplice run: reads, checks and prepares everything before anything starts; then the master serves.
#include <unistd.h>

#include "load.hpp"
#include "tlsplice/master/master.hpp"
#include "tlsplice/master/prepare.hpp"
#include "verbs.hpp"

namespace tlsplice::cli {

int run(const std::filesystem::path& file) {
  tls::use_memory_reserve();
  auto loaded = load(file);
  if (!loaded && !master::somebody_serves()) return kExitFailed;
  const base::Fd pipe = base::open_log_pipe(STDERR_FILENO);
  return master::run(file, std::move(loaded), pipe ? pipe.get() : STDERR_FILENO);
}

}  // namespace tlsplice::cli
