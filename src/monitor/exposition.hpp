// Writes the Prometheus text format, version 0.0.4: a family is its HELP, its TYPE and its samples, one line
// each. Knows nothing of what is counted. Names and helps are literals of ours; the values of labels may be
// anything and are escaped.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tlsplice::monitor {

struct Label {
  std::string_view name;
  std::string_view value;
};
using Labels = std::vector<Label>;

enum class Type : std::uint8_t { kCounter, kGauge, kHistogram };
struct Family {
  std::string_view name;
  Type type;
  std::string_view help;
};

/// How many took at most so long and longer than the step before allows.
struct Step {
  std::uint64_t upto_us;  // UINT64_MAX: no bound; the last one has none
  std::uint64_t count;
};

class Exposition {
 public:
  /// Begins a family: the samples that follow are of it.
  void begin(const Family& family);
  void sample(const Labels& labels, std::uint64_t value);
  /// Microseconds, shown as seconds to the last digit.
  void seconds(const Labels& labels, std::uint64_t microseconds);
  /// The buckets are cumulative, the last one is the count: both are sums of the same steps.
  void histogram(const Labels& labels, std::span<const Step> steps, std::uint64_t sum_us);

  std::string take() { return std::move(out_); }

 private:
  /// `extra` is one more label, its name empty when there is none.
  void name(std::string_view suffix, const Labels& labels, const Label& extra = {});
  void label(char& separator, const Label& label);

  std::string out_;
  std::string_view name_;
};

}  // namespace tlsplice::monitor
