// RFC 9112, sections 2 to 5. Interim responses (1xx) are passed over, as section 15.2 of RFC 9110 asks of
// every client. Lines may end with a bare LF, and a header may go on on the next line.
#include "response_head.hpp"

#include <algorithm>

namespace tlsplice::monitor {
namespace {

constexpr unsigned kFinalStatusMin = 200;

/// Of "HTTP/1.1 200 OK"; 0 when the line is none. The reason phrase may be missing.
unsigned status_of(std::string_view line) {
  const bool known = line.starts_with("HTTP/1.1 ") || line.starts_with("HTTP/1.0 ");
  if (!known || line.size() < 12 || (line.size() > 12 && line[12] != ' ')) return 0;
  unsigned status = 0;
  for (const char c : line.substr(9, 3)) {
    if (c < '0' || c > '9') return 0;
    status = status * 10 + static_cast<unsigned>(c - '0');
  }
  return status >= 100 ? status : 0;
}

bool is_header(std::string_view line) {
  if (line.starts_with(' ') || line.starts_with('\t')) return true;  // of the line before
  const std::size_t colon = line.find(':');
  if (colon == 0 || colon == std::string_view::npos) return false;
  return std::ranges::none_of(line.substr(0, colon), [](char c) { return c <= ' ' || c >= 0x7f; });
}

}  // namespace

ResponseHead::Found ResponseHead::read(std::string_view bytes) {
  while (found_ == Found::kMore && !bytes.empty()) {
    const std::size_t end = bytes.find('\n');
    const std::string_view piece = bytes.substr(0, end == std::string_view::npos ? end : end + 1);
    taken_ += piece.size();
    if (taken_ > kBytesMax) return broken("its headers are longer than 16 KiB");
    line_ += piece;
    bytes.remove_prefix(piece.size());
    if (end == std::string_view::npos) break;
    line_.pop_back();
    if (line_.ends_with('\r')) line_.pop_back();
    found_ = take_line(line_);
    line_.clear();
  }
  return found_;
}

ResponseHead::Found ResponseHead::take_line(std::string_view line) {
  if (line.contains('\0')) return broken("a byte of zero in its headers");
  if (status_ == 0) {
    status_ = status_of(line);
    return status_ != 0 ? Found::kMore : broken("its first line is none of HTTP/1.1 or 1.0");
  }
  if (!line.empty()) return is_header(line) ? Found::kMore : broken("a line of its headers is none");
  if (status_ >= kFinalStatusMin) return Found::kWhole;
  status_ = 0;
  return Found::kMore;
}

ResponseHead::Found ResponseHead::broken(const char* why) {
  trouble_ = why;
  return found_ = Found::kBroken;
}

}  // namespace tlsplice::monitor
