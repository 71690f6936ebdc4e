// CRC32C, the Castagnoli polynomial (RFC 3720 section 12.1 and appendix B.4). Once a connection, over a
// hundred bytes: a table of one byte a step is fast enough.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace tlsplice::proxy_protocol {

std::uint32_t crc32c(std::span<const std::byte> bytes);

}  // namespace tlsplice::proxy_protocol
