// What one flow is to do. The client makes the plan and sends it as the first bytes of the flow; the server
// follows it, so each side knows every byte that must come and how the other side will end. As the only other
// beginning a flow may be one single byte, kPing, which is answered with one byte: the shortest exchange
// there is.
//
// Numbers on the wire are in the order of the machine: both ends run on the same kind.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>

#include "pattern.hpp"

namespace tlsplice::load {

enum class Kind : std::uint8_t {
  kStream = 1,    // `up` bytes from the client, `down` bytes from the server
  kMessages = 2,  // requests of `up` bytes, each answered with `down` bytes, until the client ends
};

/// How a stream ends. A side that ends first half-closes: it goes on reading what the other sends only then.
enum class Ends : std::uint8_t {
  kEither = 0,        // each as soon as it has sent all
  kClientFirst = 1,   // the server sends nothing before the client's end
  kServerFirst = 2,   // the client sends nothing but the plan before the server's end
  kClientResets = 3,  // after all of its bytes, and after the first byte of the server; the server waits
  kServerResets = 4,  // after all of its bytes; the client waits
};
inline constexpr std::uint64_t kEndsCount = 5;

struct Plan {
  std::uint32_t magic = 0;  // set by seal()
  Kind kind = Kind::kStream;
  Ends ends = Ends::kEither;
  std::uint16_t pause_ms_max = 0;  // both sides pause now and then, sending and reading; 0: never
  std::uint64_t seed = 0;
  std::uint64_t up = 0;
  std::uint64_t down = 0;
  std::uint64_t check = 0;  // set by seal(): over all of the above

  /// Whether the server, which has seen every byte of the client by then, closes its stream with a Verdict.
  bool has_verdict() const { return ends == Ends::kEither || ends == Ends::kClientFirst; }
  Pattern up_pattern() const;
  Pattern down_pattern() const;
};
static_assert(sizeof(Plan) == 40 && std::has_unique_object_representations_v<Plan>);

using PlanBytes = std::array<std::byte, sizeof(Plan)>;

/// As it goes over the wire.
PlanBytes seal(Plan plan);
/// Nothing when these bytes are no plan, or were altered.
std::optional<Plan> unseal(const PlanBytes& bytes);

/// A flow of the soak, a function of the seed alone: sizes of 1 B to 1 MiB, pauses, every way to end.
Plan soak_plan(std::uint64_t seed, std::uint64_t id, std::uint16_t pause_ms_max);

/// How much of the client's stream arrived, and where it was wrong first.
struct Verdict {
  std::uint64_t received = 0;
  std::uint64_t first_wrong = kNothingWrong;
  static constexpr std::uint64_t kNothingWrong = ~std::uint64_t{0};
};
static_assert(sizeof(Verdict) == 16);

inline constexpr std::byte kPing{'p'};
inline constexpr std::byte kPong{'q'};

}  // namespace tlsplice::load
