// The head of an HTTP/1 response, as far as a health check needs it: the status, and that it is one. Pure:
// bytes in, in whatever pieces. A target may send anything: there is a limit to how much of it is kept.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace tlsplice::monitor {

class ResponseHead {
 public:
  static constexpr std::size_t kBytesMax = 16 * 1024;  // of the status line and all headers, interim ones too

  enum class Found : std::uint8_t { kMore, kWhole, kBroken };

  /// Takes the next bytes; after kWhole (the empty line was there) and kBroken the answer stays what it is.
  Found read(std::string_view bytes);

  /// Once whole.
  unsigned status() const { return status_; }
  /// Once broken: why, for people.
  const char* trouble() const { return trouble_; }

 private:
  Found take_line(std::string_view line);
  Found broken(const char* why);

  Found found_ = Found::kMore;
  std::string line_;  // its beginning
  std::size_t taken_ = 0;
  unsigned status_ = 0;  // 0: the status line is next
  const char* trouble_ = "";
};

}  // namespace tlsplice::monitor
