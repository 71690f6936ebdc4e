// What a run comes to: sums over its flows, the reasons of those that failed, and the one line of JSON that
// ends the output.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "connection.hpp"
#include "histogram.hpp"
#include "plan.hpp"
#include "talk.hpp"

namespace tlsplice::load {

struct Tally {
  std::uint64_t flows = 0;   // that were begun
  std::uint64_t done = 0;    // as planned
  std::uint64_t failed = 0;  // not so
  std::uint64_t cut = 0;     // by our own end
  std::uint64_t sent_bytes = 0;
  std::uint64_t received_bytes = 0;
  std::array<std::uint64_t, kEndsCount> ends{};  // of streams that went as planned, by how they ended
  std::map<std::string, std::uint64_t> errors;
  Histogram latencies;

  void count(const Connection& connection, const Talk& talk, const Turn& end);
  void count_error(const std::string& why);
  bool ok() const { return failed == 0 && errors.empty(); }
};

/// {"case":"...","ok":true,...}; `more` are further members, ready to be put in, or empty.
std::string json_line(const std::string& name, const Tally& tally, double seconds,
                      const std::string& more = "");

}  // namespace tlsplice::load
