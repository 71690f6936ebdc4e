// Ends the flows of one target while all others go on: a Stop for each target, under that of the worker, made
// when the first flow needs it.
#pragma once

#include <memory>
#include <vector>

#include "tlsplice/uring/ring.hpp"

namespace tlsplice::session {

class TargetStops {
 public:
  /// `all` must outlive it; targets are places in the Shape.
  TargetStops(uring::Stop& all, std::size_t targets) : all_(all), stops_(targets) {}

  std::size_t count() const { return stops_.size(); }
  /// What a flow of that target is relayed under.
  uring::Stop& of(std::size_t target) {
    auto& stop = stops_.at(target);
    if (!stop) stop = std::make_unique<uring::Stop>(all_);
    return *stop;
  }
  /// All flows of that target end, and those that come until renew().
  void request(std::size_t target) { of(target).request(); }
  /// When none is left.
  void renew(std::size_t target) { stops_.at(target).reset(); }

 private:
  uring::Stop& all_;
  std::vector<std::unique_ptr<uring::Stop>> stops_;
};

}  // namespace tlsplice::session
