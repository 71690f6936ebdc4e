// Another program takes this one's place, in the same process: first it is asked, in a child, whether it
// takes the configuration; then execve(2), with everything that serves left to it (bequest.hpp). No worker
// and no client notices.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "bequest.hpp"
#include "tlsplice/base/clock.hpp"
#include "tlsplice/base/fd.hpp"
#include "tlsplice/base/log.hpp"
#include "tlsplice/base/result.hpp"

namespace tlsplice::master {

class Upgrade {
 public:
  /// Longer than any check takes.
  static constexpr base::Milliseconds kPatience{30'000};

  /// Why an upgrade that was begun did not come about.
  using Failed = std::function<void(const std::string& why)>;

  /// The program is looked up where this one was started from, when it is needed: a link may lead to another
  /// one by then. The log outlives it.
  explicit Upgrade(base::Log& log);

  /// Starts the check.
  void begin(const std::filesystem::path& config, Failed failed);
  bool under_way() const { return process_ > 0; }
  /// False when that is not the check. `go_on` is called when it was passed.
  bool bury(pid_t process, int status, const std::function<void()>& go_on);
  /// Says why, and tells whoever began it.
  void give_up(const std::vector<std::string>& lines);
  /// When it has taken too long, it is ended.
  void watch(base::Instant now);
  base::Instant next_deadline() const { return under_way() ? give_up_at_ : base::Instant::max(); }

  /// Does not return if it succeeds.
  base::Error replace(const Bequest& bequest, const std::filesystem::path& config) const;

 private:
  base::Log& log_;
  std::string program_;
  Failed failed_;
  pid_t process_ = -1;
  base::Fd output_;
  base::Instant give_up_at_ = base::Instant::max();
};

}  // namespace tlsplice::master
