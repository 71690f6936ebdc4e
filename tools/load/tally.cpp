#include "tally.hpp"

#include <fmt/format.h>

#include <array>

namespace tlsplice::load {
namespace {

constexpr std::size_t kErrorsMax = 100;  // different ones; the rest is counted as one
constexpr std::array<const char*, kEndsCount> kEndNames = {"either", "client_first", "server_first",
                                                           "client_resets", "server_resets"};

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  return out + '"';
}

/// Numbers in a reason would make each of them the only one of its kind.
std::string without_numbers(const std::string& why) {
  std::string out;
  for (const char c : why) {
    if (c < '0' || c > '9') {
      out += c;
    } else if (out.empty() || out.back() != 'N') {
      out += 'N';
    }
  }
  return out;
}

}  // namespace

void Tally::count(const Connection& connection, const Talk& talk, const Turn& end) {
  sent_bytes += connection.sent();
  received_bytes += connection.received();
  if (end.what == Turn::What::kFailed) {
    ++failed;
    count_error(end.why);
    return;
  }
  ++done;
  const Plan* const plan = talk.plan();
  if (plan != nullptr && plan->kind == Kind::kStream) ++ends[static_cast<std::size_t>(plan->ends)];
}

void Tally::count_error(const std::string& why) {
  const std::string kind = without_numbers(why);
  const bool known = errors.contains(kind);
  ++errors[known || errors.size() < kErrorsMax ? kind : "further errors"];
}

std::string json_line(const std::string& name, const Tally& tally, double seconds, const std::string& more) {
  std::string out =
      fmt::format(R"({{"case":{},"ok":{},"seconds":{:.6f},"flows":{},"done":{},"failed":{},"cut":{},)",
                  quoted(name), tally.ok(), seconds, tally.flows, tally.done, tally.failed, tally.cut);
  out +=
      fmt::format(R"("sent_bytes":{},"received_bytes":{},"ends":{{)", tally.sent_bytes, tally.received_bytes);
  for (std::size_t end = 0; end < kEndsCount; ++end) {
    out += fmt::format(R"({}"{}":{})", end == 0 ? "" : ",", kEndNames[end], tally.ends[end]);
  }
  const Histogram& times = tally.latencies;
  out += fmt::format(R"(}},"latency_us":{{"count":{},"p50":{:.1f},"p90":{:.1f},"p99":{:.1f},"max":{:.1f}}})",
                     times.count(), times.percentile_us(0.5), times.percentile_us(0.9),
                     times.percentile_us(0.99), times.max_us());
  out += more + R"(,"errors":{)";
  bool first = true;
  for (const auto& [why, count] : tally.errors) {
    out += fmt::format("{}{}:{}", first ? "" : ",", quoted(why), count);
    first = false;
  }
  return out + "}}\n";
}

}  // namespace tlsplice::load
