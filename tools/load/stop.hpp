// How a person or a test ends a run: SIGINT, SIGTERM, and where it is asked for a line (or the end) on
// stdin.
#pragma once

#include "loop.hpp"
#include "tlsplice/base/fd.hpp"

namespace tlsplice::load {

/// Takes both signals away from their default action for as long as the process lives.
class StopSignals : public Watched {
 public:
  explicit StopSignals(Loop& loop);
  void on_ready() override;
  bool asked() const { return asked_; }
  void forget() { asked_ = false; }

 private:
  base::Fd signals_;
  bool asked_ = false;
};

class StopLine : public Watched {
 public:
  explicit StopLine(Loop& loop);
  ~StopLine() override;
  void on_ready() override { asked_ = true; }
  bool asked() const { return asked_; }

 private:
  Loop& loop_;
  bool asked_ = false;
};

}  // namespace tlsplice::load
