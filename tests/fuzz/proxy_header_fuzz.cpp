// Promised: no bytes, however hostile and however they are cut, make the reader of the PROXY protocol's
// header ask for more than its limits, take a byte behind the header, or answer otherwise than in one piece.
// A libFuzzer target; the first byte says how long the pieces are.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "tlsplice/base/expect.hpp"
#include "tlsplice/proxy_protocol/reader.hpp"

namespace {

using tlsplice::proxy_protocol::HeaderReader;

struct Read {
  bool whole = false;
  std::size_t bytes = 0;  // of a whole header
  std::string result;
  bool operator==(const Read&) const = default;
};

Read read(std::span<const std::byte> bytes, std::size_t step) {
  HeaderReader reader;
  std::size_t at = 0;
  while (reader.wanted() > 0) {
    TLSPLICE_EXPECT(at + reader.wanted() <= tlsplice::proxy_protocol::kInboundBytesMax, "there is a limit");
    std::span<const std::byte> piece = bytes.subspan(at);
    piece = piece.first(std::min({piece.size(), reader.wanted(), step}));
    if (piece.empty()) return {};
    const auto newline = std::ranges::find(piece, std::byte{'\n'});
    if (reader.up_to_newline() && newline != piece.end())
      piece = piece.first(static_cast<std::size_t>(newline - piece.begin()) + 1);
    at += piece.size();
    if (const auto taken = reader.take(piece); !taken) return {.result = taken.error().detail};
  }
  return {.whole = true, .bytes = at, .result = reader.client() ? reader.client()->text() : "none"};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto bytes = std::as_bytes(std::span(data, size)).subspan(1);
  const Read at_once = read(bytes, bytes.size());
  const Read in_pieces = read(bytes, data[0] + 1UZ);
  TLSPLICE_EXPECT(at_once.whole == in_pieces.whole, "pieces make no difference");
  TLSPLICE_EXPECT(!at_once.whole || at_once == in_pieces, "and none to what is read");
  return 0;
}
