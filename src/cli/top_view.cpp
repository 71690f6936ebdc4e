#include "top_view.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "text_table.hpp"

namespace tlsplice::cli {
namespace {

using Number = __u64;

/// Three digits and a letter: "0", "950", "1.23K", "45.6M", "789G".
std::string short_form(double value) {
  static constexpr std::array kLetters = {"", "K", "M", "G", "T", "P"};
  std::size_t letter = 0;
  while (value >= 999.5 && letter + 1 < kLetters.size()) {
    value /= 1000;
    ++letter;
  }
  const int digits = letter == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f}{}", value, digits, kLetters[letter]);
}

class Rates {
 public:
  Rates(const Snapshot& before, const Snapshot& now)
      : seconds_(std::chrono::duration<double>(now.at - before.at).count()) {}
  std::string operator()(Number before, Number now) const {
    return now < before || seconds_ <= 0 ? "-" : short_form(static_cast<double>(now - before) / seconds_);
  }

 private:
  double seconds_;
};

/// The same row of the snapshot before; itself when there was none.
template <typename Row>
const Row& earlier(const std::vector<Row>& before, std::size_t i, const Row& now) {
  return i < before.size() ? before[i] : now;
}

std::string share(Number part_before, Number part, Number whole_before, Number whole) {
  if (part < part_before || whole <= whole_before) return "-";
  return fmt::format("{}%", 100 * (part - part_before) / (whole - whole_before));
}

Number bytes(const tlsplice_listener& row) {
  return row.ProcessedBytes_FromClient + row.ProcessedBytes_ToClient;
}
Number resets(const tlsplice_listener& row) {
  return row.TCP_Client_Reset_Count + row.TCP_Target_Reset_Count + row.TCP_ELB_Reset_Count;
}
Number tls_errors(const tlsplice_listener& row) {
  return row.ClientTLSNegotiationErrorCount + row.TargetTLSNegotiationErrorCount;
}
Number errors(const tlsplice_target& row) {
  return row.TargetConnectionErrorCount + row.TargetTLSNegotiationErrorCount;
}

std::vector<std::string> listener_lines(const Snapshot& before, const Snapshot& now, const Rates& rate) {
  TextTable table(
      {"LISTENER", "PROTO", "ACTIVE", "NEW/S", "IN_B/S", "OUT_B/S", "SPLICED", "TLSERR/S", "RST/S", "REJ/S"});
  for (std::size_t i = 0; i < now.listeners.size(); ++i) {
    const tlsplice_listener& row = now.listeners[i];
    const tlsplice_listener& was = earlier(before.listeners, i, row);
    table.add({row.listener, row.protocol, std::to_string(row.ActiveFlowCount),
               rate(was.NewFlowCount, row.NewFlowCount),
               rate(was.ProcessedBytes_FromClient, row.ProcessedBytes_FromClient),
               rate(was.ProcessedBytes_ToClient, row.ProcessedBytes_ToClient),
               share(was.SplicedBytes, row.SplicedBytes, bytes(was), bytes(row)),
               rate(tls_errors(was), tls_errors(row)), rate(resets(was), resets(row)),
               rate(was.RejectedFlowCount, row.RejectedFlowCount)});
  }
  return table.lines();
}

std::vector<std::string> target_lines(const Snapshot& before, const Snapshot& now, const Rates& rate) {
  TextTable table({"TARGET_GROUP", "TARGET", "ACTIVE", "NEW/S", "TO_B/S", "FROM_B/S", "ERR/S", "RST/S"});
  for (std::size_t i = 0; i < now.targets.size(); ++i) {
    const tlsplice_target& row = now.targets[i];
    const tlsplice_target& was = earlier(before.targets, i, row);
    table.add({row.target_group, row.target, std::to_string(row.ActiveFlowCount),
               rate(was.NewFlowCount, row.NewFlowCount),
               rate(was.ProcessedBytes_ToTarget, row.ProcessedBytes_ToTarget),
               rate(was.ProcessedBytes_FromTarget, row.ProcessedBytes_FromTarget),
               rate(errors(was), errors(row)), rate(was.TCP_Target_Reset_Count, row.TCP_Target_Reset_Count)});
  }
  return table.lines();
}

/// The same words as bpf/numbers.bpf.c has in `workers_table`.
const char* state_of(const tlsplice_worker_load& row, Number silent_ns) {
  if (row.heartbeat_ns == 0) return "gone";
  if (row.closed != 0) return "stuck";
  if (row.draining != 0) return "draining";
  return silent_ns > TLSPLICE_STEER_SILENCE_NS ? "silent" : "serving";
}

std::vector<std::string> worker_lines(const Snapshot& before, const Snapshot& now, const Rates& rate) {
  TextTable table({"WORKER", "PID", "STATE", "ACTIVE", "ACCEPT/S", "HANDSHAKE/S", "SILENT_MS", "RESTARTS"});
  const auto at = static_cast<Number>(now.at.time_since_epoch().count());
  for (std::size_t i = 0; i < now.workers.size(); ++i) {
    const tlsplice_worker_load& row = now.workers[i];
    const tlsplice_worker_load& was = earlier(before.workers, i, row);
    const Number silent = at > row.heartbeat_ns && row.heartbeat_ns != 0 ? at - row.heartbeat_ns : 0;
    table.add({std::to_string(i), std::to_string(row.process), state_of(row, silent),
               std::to_string(row.active), rate(was.accepted, row.accepted),
               rate(was.handshakes, row.handshakes), std::to_string(silent / 1'000'000),
               std::to_string(row.restarts)});
  }
  return table.lines();
}

}  // namespace

View view_of(const Snapshot& before, const Snapshot& now) {
  const Rates rate(before, now);
  const tlsplice_counters& sum = now.counters;
  const tlsplice_counters& was = before.counters;
  View view;
  view.summary =
      fmt::format("tlsplice  {} flows  {} new/s  {} handshakes/s  {} B/s  {} spliced", sum.ActiveFlowCount,
                  rate(was.NewFlowCount, sum.NewFlowCount),
                  rate(was.ClientTLSHandshakeCount, sum.ClientTLSHandshakeCount),
                  rate(was.ProcessedBytes, sum.ProcessedBytes),
                  share(was.SplicedBytes, sum.SplicedBytes, was.ProcessedBytes, sum.ProcessedBytes));
  for (const auto& lines : {listener_lines(before, now, rate), target_lines(before, now, rate),
                            worker_lines(before, now, rate)}) {
    if (!view.lines.empty()) view.lines.emplace_back();
    view.lines.insert(view.lines.end(), lines.begin(), lines.end());
  }
  return view;
}

}  // namespace tlsplice::cli
