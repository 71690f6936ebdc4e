// Promised: no text, however hostile, does more to parse_config than make it say what is wrong, in printable
// words and in the order of the text. A libFuzzer target; config.dict beside it has the words of the
// language.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>

#include "tlsplice/base/expect.hpp"
#include "tlsplice/policy/config.hpp"

// To be built with toml++ compiled in (TOML_HEADER_ONLY=1), so that the fuzzer sees its branches and the
// sanitizers its memory. Two slips of toml++ 3.3.0 must be let pass; both are harmless in Debian's library,
// which the program uses.
// -DTOML_ASSERT(condition)=static_assert(true): "[[[" breaks an assertion in parse_key, which is compiled out
// there; the loop behind it reports the error.
// -fno-sanitize=unreachable: letters like U+00E9 in a key reach an unreachable(), where both ways out answer
// "no white space" (its issues 190 and 295).
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using tlsplice::policy::Mistake;
  const std::string text(data, data + size);
  const auto config = tlsplice::policy::parse_config(text, "fuzz.toml");
  if (config) {
    TLSPLICE_EXPECT(!config->listeners.empty(), "a right configuration has a listener");
    for (const auto& listener : config->listeners) {
      TLSPLICE_EXPECT(!listener.forward.empty(), "each listener forwards");
      for (const auto& forward : listener.forward)
        TLSPLICE_EXPECT(config->target_group(forward.target_group) != nullptr, "to groups that there are");
    }
    return 0;
  }
  TLSPLICE_EXPECT(!config.error().empty(), "what is refused has a mistake");
  const auto place = [](const Mistake& m) { return std::tuple(m.place.line, m.place.column); };
  TLSPLICE_EXPECT(std::ranges::is_sorted(config.error(), {}, place), "mistakes are in the order of the file");
  for (const Mistake& mistake : config.error()) {
    const std::string line = tlsplice::policy::to_string("fuzz.toml", mistake);
    const auto control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
    TLSPLICE_EXPECT(std::ranges::none_of(line, control), "a mistake cannot speak to the terminal");
  }
  return 0;
}
