#include "plan.hpp"

#include <bit>

#include "random.hpp"

namespace tlsplice::load {
namespace {

constexpr std::uint32_t kMagic = 0x61646c54;  // never begins with kPing
constexpr std::uint64_t kSoakBytesMax = 1024 * 1024;
constexpr std::uint64_t kSoakMessageMax = 16 * 1024;
constexpr std::uint64_t kUp = 1, kDown = 2, kShape = 3;

std::uint64_t checksum(const Plan& plan) {
  std::uint64_t sum = derive(plan.magic, static_cast<std::uint64_t>(plan.kind));
  sum = derive(sum, static_cast<std::uint64_t>(plan.ends) << 16 | plan.pause_ms_max);
  for (const std::uint64_t part : {plan.seed, plan.up, plan.down}) sum = derive(sum ^ part, part);
  return sum;
}

}  // namespace

Pattern Plan::up_pattern() const {
  return Pattern(derive(seed, kUp));
}

Pattern Plan::down_pattern() const {
  return Pattern(derive(seed, kDown));
}

PlanBytes seal(Plan plan) {
  plan.magic = kMagic;
  plan.check = checksum(plan);
  return std::bit_cast<PlanBytes>(plan);
}

std::optional<Plan> unseal(const PlanBytes& bytes) {
  const Plan plan = std::bit_cast<Plan>(bytes);
  if (plan.magic != kMagic || plan.check != checksum(plan)) return std::nullopt;
  if (plan.kind == Kind::kMessages && (plan.up == 0 || plan.down == 0)) return std::nullopt;
  return plan;
}

// One flow in eight is of requests and answers, one in ten ends with a reset.
Plan soak_plan(std::uint64_t seed, std::uint64_t id, std::uint16_t pause_ms_max) {
  Plan plan{.pause_ms_max = pause_ms_max, .seed = derive(seed, id)};
  Random random(derive(plan.seed, kShape));
  if (random.below(8) == 0) {
    plan.kind = Kind::kMessages;
    plan.up = random.size(kSoakMessageMax);
    plan.down = random.size(kSoakMessageMax);
    return plan;
  }
  plan.up = random.size(kSoakBytesMax);
  plan.down = random.size(kSoakBytesMax);
  const std::uint64_t ends = random.below(20);
  if (ends < 2) {
    plan.ends = ends == 0 ? Ends::kClientResets : Ends::kServerResets;
  } else {
    constexpr std::array kClean = {Ends::kEither, Ends::kClientFirst, Ends::kServerFirst};
    plan.ends = kClean[ends % kClean.size()];
  }
  return plan;
}

}  // namespace tlsplice::load
