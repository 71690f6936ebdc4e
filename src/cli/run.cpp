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
  if (!loaded) return kExitFailed;
  auto& [config, prepared] = *loaded;
  const base::Fd pipe = base::open_log_pipe(STDERR_FILENO);
  base::Log log(pipe ? pipe.get() : STDERR_FILENO, config.log.level, config.log.format);
  for (const master::Prepared::Listener& listener : prepared.listeners) {
    if (!listener.context) continue;
    const tls::Offer& offer = listener.context->offer();
    for (const std::string& warning : offer.warnings) {
      log.warning("certificate", {{"listener", listener.service.name}, {"what", warning}});
    }
    for (const tls::Missing& missing : offer.missing) {
      if (!missing.library) continue;
      log.warning("not_offered",
                  {{"listener", listener.service.name}, {"what", missing.name}, {"why", missing.why}});
    }
  }
  log.info("kernel_tls", {{"available", prepared.kernel.ulp ? "yes" : "no"},
                          {"detail", prepared.kernel.ulp ? "-" : prepared.kernel.why_not}});
  return master::run(config, std::move(prepared), log);
}

}  // namespace tlsplice::cli
