#include "numbers.hpp"

namespace tlsplice::master {

Numbers::Numbers(const observe::Shape& shape, std::size_t target_groups) {
  auto maps = steering::Maps::create({.workers = shape.workers,
                                      .listeners = shape.listeners.size(),
                                      .targets = shape.targets.size(),
                                      .target_groups = target_groups});
  if (maps) {
    maps_.emplace(std::move(*maps));
  } else {
    why_not_ = std::move(maps.error());
  }
}

observe::Backing Numbers::backing() const {
  if (!maps_) return {};
  return {.counters = maps_->counters(),
          .listeners = maps_->listeners(),
          .targets = maps_->targets(),
          .negotiated = maps_->negotiated(),
          .ktls = maps_->ktls(),
          .histograms = maps_->histograms()};
}

targets::HealthBacking Numbers::health_backing() const {
  if (!maps_) return {};
  return {.target_health = maps_->target_health(), .target_groups = maps_->target_groups()};
}

void Numbers::pin(const std::string& directory, Numbers* before, base::Log& log) {
  if (before != nullptr && before->pins_ && maps_ && before->pins_->directory() == directory) {
    pins_ = std::move(before->pins_);
    before->pins_.reset();
    if (auto replaced = pins_->replace(*maps_); !replaced)
      log.warning("numbers_not_pinned", {{"why", replaced.error().text()}});
    return;
  }
  if (before != nullptr) before->pins_.reset();
  if (!maps_) return;  // the line "steering" has said why
  auto pins = steering::Pins::create(directory, *maps_);
  if (!pins) return log.warning("numbers_not_pinned", {{"why", pins.error().text()}});
  pins_.emplace(std::move(*pins));
  log.info("numbers", {{"directory", directory}, {"tables", pins_->has_tables() ? "yes" : "no"}});
}

void Numbers::abandon() {
  if (pins_) pins_->abandon();
  pins_.reset();
  maps_.reset();
}

}  // namespace tlsplice::master
