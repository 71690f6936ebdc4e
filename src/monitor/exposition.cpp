#include "exposition.hpp"

#include <fmt/format.h>

#include <iterator>

namespace tlsplice::monitor {
namespace {

constexpr double kMicrosecondsPerSecond = 1e6;

const char* word(Type type) {
  switch (type) {
    case Type::kCounter:
      return "counter";
    case Type::kGauge:
      return "gauge";
    case Type::kHistogram:
      break;
  }
  return "histogram";
}

void append_escaped(std::string& out, std::string_view value) {
  for (const char c : value) {
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
}

void append_seconds(std::string& out, std::uint64_t microseconds) {
  fmt::format_to(std::back_inserter(out), "{}.{:06}\n", microseconds / 1'000'000, microseconds % 1'000'000);
}

}  // namespace

void Exposition::begin(const Family& family) {
  const auto& [name, type, help] = family;
  name_ = name;
  fmt::format_to(std::back_inserter(out_), "# HELP {} {}\n# TYPE {} {}\n", name, help, name, word(type));
}

void Exposition::sample(const Labels& labels, std::uint64_t value) {
  name("", labels);
  fmt::format_to(std::back_inserter(out_), "{}\n", value);
}

void Exposition::seconds(const Labels& labels, std::uint64_t microseconds) {
  name("", labels);
  append_seconds(out_, microseconds);
}

void Exposition::histogram(const Labels& labels, std::span<const Step> steps, std::uint64_t sum_us) {
  std::uint64_t count = 0;
  for (const Step& step : steps) {
    count += step.count;
    const bool last = step.upto_us == UINT64_MAX;
    const std::string bound =
        last ? "+Inf" : fmt::format("{}", static_cast<double>(step.upto_us) / kMicrosecondsPerSecond);
    name("_bucket", labels, {"le", bound});
    fmt::format_to(std::back_inserter(out_), "{}\n", count);
  }
  name("_sum", labels);
  append_seconds(out_, sum_us);
  name("_count", labels);
  fmt::format_to(std::back_inserter(out_), "{}\n", count);
}

void Exposition::name(std::string_view suffix, const Labels& labels, const Label& extra) {
  out_ += name_;
  out_ += suffix;
  char separator = '{';
  for (const Label& each : labels) label(separator, each);
  if (!extra.name.empty()) label(separator, extra);
  out_ += separator == '{' ? " " : "} ";
}

void Exposition::label(char& separator, const Label& label) {
  out_ += separator;
  separator = ',';
  out_ += label.name;
  out_ += "=\"";
  append_escaped(out_, label.value);
  out_ += '"';
}

}  // namespace tlsplice::monitor
