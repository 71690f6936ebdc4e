// A stream, from either side: sends its own half, checks the other one, and ends, or is ended, as the plan
// says.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <optional>

#include "halves.hpp"
#include "talk.hpp"

namespace tlsplice::load {
namespace {

using Role = Connection::Role;

constexpr std::uint64_t kSendingPace = 4, kReceivingPace = 5, kManner = 6;

std::vector<std::byte> opening_of(Role role, const Plan& plan) {
  if (role == Role::kServer) return {};
  const PlanBytes sealed = seal(plan);
  return {sealed.begin(), sealed.end()};
}

Pacer pacer_of(Role role, const Plan& plan, std::uint64_t which) {
  return Pacer(derive(plan.seed, which + (role == Role::kClient ? 0 : 16)), plan.pause_ms_max);
}

class StreamTalk : public Talk {
 public:
  StreamTalk(Role role, const Plan& plan)
      : role_(role),
        plan_(plan),
        outlet_(opening_of(role, plan), client() ? plan.up_pattern() : plan.down_pattern(),
                client() ? plan.up : plan.down, pacer_of(role, plan, kSendingPace),
                derive(plan.seed, kManner) % 2 == 0),
        inlet_(client() ? plan.down_pattern() : plan.up_pattern(), client() ? plan.down : plan.up,
               pacer_of(role, plan, kReceivingPace), client() && plan.has_verdict() ? sizeof(Verdict) : 0) {}

  Turn go_on(Connection& connection, const Moment& moment) override;
  const Plan* plan() const override { return &plan_; }

 private:
  bool client() const { return role_ == Role::kClient; }
  std::uint64_t expected() const { return client() ? plan_.down : plan_.up; }
  bool i_reset() const { return plan_.ends == (client() ? Ends::kClientResets : Ends::kServerResets); }
  bool peer_resets() const { return plan_.ends == (client() ? Ends::kServerResets : Ends::kClientResets); }
  bool i_say_verdict() const { return !client() && plan_.has_verdict(); }

  Outlet::Gate gate() const;
  std::optional<Turn> judge(Connection& connection, Step out, Step in) const;
  std::optional<Turn> judge_resets(Connection& connection, bool reset) const;
  Turn judge_complete() const;
  Turn wait_for(Step out, Step in) const;

  Role role_;
  Plan plan_;
  Outlet outlet_;
  Inlet inlet_;
};

Turn StreamTalk::go_on(Connection& connection, const Moment& moment) {
  for (;;) {
    const Outlet::Gate before = gate();
    const Step out = outlet_.send(connection, moment.now, before);
    // The call that meets a reset takes the error with it: the next one would see a FIN.
    const bool over = out == Step::kReset || out == Step::kFailed;
    const Step in = over ? Step::kWaiting : inlet_.receive(connection, moment);
    if (auto end = judge(connection, out, in)) return *std::move(end);
    if (gate() == before) return wait_for(out, in);
    if (i_say_verdict()) {
      const Verdict verdict{inlet_.received(), inlet_.first_wrong().value_or(Verdict::kNothingWrong)};
      const auto bytes = std::bit_cast<std::array<std::byte, sizeof verdict>>(verdict);
      outlet_.set_closing({bytes.begin(), bytes.end()});
    }
  }
}

/// A gate opens at the peer's end, and never closes again.
Outlet::Gate StreamTalk::gate() const {
  if (i_reset() || peer_resets()) return Outlet::Gate::kStream;
  if (inlet_.ended()) return Outlet::Gate::kEnd;
  const Ends peer_first = client() ? Ends::kServerFirst : Ends::kClientFirst;
  if (plan_.ends == peer_first) return Outlet::Gate::kOpening;
  return i_say_verdict() ? Outlet::Gate::kStream : Outlet::Gate::kEnd;
}

std::optional<Turn> StreamTalk::judge(Connection& connection, Step out, Step in) const {
  if (out == Step::kFailed || in == Step::kFailed) return Turn::failed(connection.why());
  if (inlet_.first_wrong() && !i_say_verdict()) {
    return Turn::failed(fmt::format("wrong byte at {} of {}", *inlet_.first_wrong(), expected()));
  }
  const bool reset = out == Step::kReset || in == Step::kReset;
  if (reset || i_reset() || peer_resets()) return judge_resets(connection, reset);
  if (in == Step::kComplete && inlet_.received() < expected()) {
    return Turn::failed(fmt::format("ended after {} of {} bytes", inlet_.received(), expected()));
  }
  if (out == Step::kComplete && in == Step::kComplete) return judge_complete();
  return std::nullopt;
}

std::optional<Turn> StreamTalk::judge_resets(Connection& connection, bool reset) const {
  if (reset && peer_resets()) return Turn::done();
  if (reset) {
    return Turn::failed(fmt::format("reset by the peer after {} of {} bytes", inlet_.received(), expected()));
  }
  if (inlet_.ended()) return Turn::failed("a clean end where a reset was to come");
  if (!i_reset() || !outlet_.stream_sent()) return std::nullopt;
  // A reset may overtake what is under way. One byte from the server proves that the plan has arrived there.
  if (client() && inlet_.received() == 0) return std::nullopt;
  connection.reset();
  return Turn::done();
}

Turn StreamTalk::judge_complete() const {
  if (i_say_verdict() && inlet_.first_wrong()) {
    return Turn::failed(fmt::format("wrong byte at {} of {}", *inlet_.first_wrong(), expected()));
  }
  if (!client() || !plan_.has_verdict()) return Turn::done();
  if (inlet_.closing().size() != sizeof(Verdict)) {
    return Turn::failed("ended before the server said what it had received");
  }
  std::array<std::byte, sizeof(Verdict)> bytes{};
  std::ranges::copy(inlet_.closing(), bytes.begin());
  const auto verdict = std::bit_cast<Verdict>(bytes);
  if (verdict.first_wrong != Verdict::kNothingWrong) {
    return Turn::failed(
        fmt::format("the server got a wrong byte at {} of {}", verdict.first_wrong, plan_.up));
  }
  if (verdict.received != plan_.up) {
    return Turn::failed(fmt::format("the server got {} of {} bytes", verdict.received, plan_.up));
  }
  return Turn::done();
}

Turn StreamTalk::wait_for(Step out, Step in) const {
  if (out == Step::kMore || in == Step::kMore) return {.what = Turn::What::kMore};
  if (out != Step::kPaused && in != Step::kPaused) return {};
  base::Instant until = base::Instant::max();
  if (out == Step::kPaused) until = std::min(until, outlet_.resume());
  if (in == Step::kPaused) until = std::min(until, inlet_.resume());
  return {.what = Turn::What::kPaused, .until = until};
}

}  // namespace

std::unique_ptr<Talk> stream_talk(Connection::Role role, const Plan& plan) {
  return std::make_unique<StreamTalk>(role, plan);
}

}  // namespace tlsplice::load
