// The flows that a worker serves at this moment, as a list that they enter and leave by themselves, for
// whoever wants to look at them. Nothing is written down for it while nobody looks.
#pragma once

#include "tlsplice/base/list.hpp"
#include "tlsplice/wire/flows.h"

namespace tlsplice::session {

/// A place in the list: a flow, or the bookmark of somebody who reads the list in several turns. Begins
/// outside of it.
class LiveFlow : public base::ListNode<LiveFlow> {
 public:
  LiveFlow() = default;
  LiveFlow(const LiveFlow&) = delete;
  LiveFlow& operator=(const LiveFlow&) = delete;

  /// Fills all of `row` but `worker`; false when this is no flow.
  virtual bool describe(tlsplice_flow& row) const = 0;

 protected:
  ~LiveFlow() { unlink(); }
};

using LiveFlows = base::List<LiveFlow>;

}  // namespace tlsplice::session
