// Promised: no text, however hostile, does more to parse_changes than make it say what is wrong, in printable
// words; what it takes comes back the same after it was written, and applied it makes a configuration that is
// right or is refused. A libFuzzer target, over the admin socket's arguments as well: they are read in the
// same way.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "tlsplice/base/expect.hpp"
#include "tlsplice/control/changes.hpp"
#include "tlsplice/policy/config.hpp"

namespace {

using tlsplice::control::Changes;
using tlsplice::control::Objection;
namespace policy = tlsplice::policy;

constexpr const char* kConfig = R"(
[[target_group]]
name = "app"
protocol = "TCP"
targets = ["192.0.2.1:8080"]
[[listener]]
name = "web"
protocol = "TLS"
address = "0.0.0.0:443"
certificate = { chain = "web.pem", key = "web.key" }
default_action = { forward = "app" }
)";

void expect_printable(const std::string& line) {
  const auto control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
  TLSPLICE_EXPECT(std::ranges::none_of(line, control), "what is said cannot speak to the terminal");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const policy::Config file = *policy::parse_config(kConfig, "/t.toml");
  const std::string text(data, data + size);
  auto changes = tlsplice::control::parse_changes(text);
  if (!changes) {
    TLSPLICE_EXPECT(!changes.error().empty(), "what is refused has a reason");
    for (const Objection& objection : changes.error()) expect_printable(to_string(objection));
    return 0;
  }
  TLSPLICE_EXPECT(tlsplice::control::parse_changes(format_changes(*changes)) == *changes,
                  "what was written is what is read");
  const auto applied = apply(file, *changes);
  if (applied) {
    for (const auto& group : applied->target_groups)
      TLSPLICE_EXPECT(group.targets.size() <= policy::kTargetsOfAGroupMax, "a target group has its limit");
    TLSPLICE_EXPECT(policy::cross_check(*applied).empty(), "listeners and groups fit together");
  } else {
    for (const Objection& objection : applied.error()) expect_printable(to_string(objection));
  }
  for (const std::string& line : prune(*changes, file)) expect_printable(line);
  for (const std::string& line : tell(*changes, file)) expect_printable(line);
  return 0;
}
