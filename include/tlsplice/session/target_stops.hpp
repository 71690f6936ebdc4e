// Ends some flows while all others go on: those of one target, or those that one listener forwards to some.
// A Stop for each listener and target, under that of the worker, made when the first flow needs it.
#pragma once

#include <cstddef>
#include <map>
#include <utility>

#include "tlsplice/uring/ring.hpp"

namespace tlsplice::session {

class TargetStops {
 public:
  /// `all` must outlive it; listeners and targets are places in the Shape.
  TargetStops(uring::Stop& all, std::size_t listeners, std::size_t targets)
      : all_(all), listeners_(listeners), targets_(targets) {}

  std::size_t targets() const { return targets_; }
  /// What a flow from that listener to that target is relayed under.
  uring::Stop& of(std::size_t listener, std::size_t target) { return entry(listener, target).stop; }
  /// All flows of that target end, and those that come until renew().
  void request(std::size_t target) {
    for (std::size_t listener = 0; listener < listeners_; ++listener) of(listener, target).request();
  }
  /// When none is left.
  void renew(std::size_t target) {
    for (std::size_t listener = 0; listener < listeners_; ++listener) {
      const auto found = stops_.find({listener, target});
      if (found != stops_.end() && !found->second.for_good) stops_.erase(found);
    }
  }
  /// All flows from that listener to these targets end, and all that still come.
  void request_for_good(std::size_t listener, std::size_t first_target, std::size_t count) {
    for (std::size_t target = first_target; target < first_target + count; ++target) {
      entry(listener, target).for_good = true;
      of(listener, target).request();
    }
  }

 private:
  struct Entry {
    explicit Entry(uring::Stop& all) : stop(all) {}
    uring::Stop stop;
    bool for_good = false;
  };
  Entry& entry(std::size_t listener, std::size_t target) {
    return stops_.try_emplace({listener, target}, all_).first->second;
  }

  uring::Stop& all_;
  std::size_t listeners_;
  std::size_t targets_;
  std::map<std::pair<std::size_t, std::size_t>, Entry> stops_;
};

}  // namespace tlsplice::session
