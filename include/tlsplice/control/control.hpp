// The control commands of a running service: what is asked and told, in the load balancer's words, and what
// is changed. One change at a time: it is checked as a whole, written beside the configuration, handed to the
// service, and in force (and answered) when the service has taken it over. Those that come meanwhile wait for
// their turn. Lives in the master; nothing here waits.
#pragma once

#include <deque>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "tlsplice/base/log.hpp"
#include "tlsplice/control/load.hpp"

namespace tlsplice::control {

/// The load balancer's words (spec: nlb-facts, section 10). Reason and description are empty when healthy.
struct TargetHealth {
  std::string state;
  std::string reason;
  std::string description;
};

/// What the commands need of the service that they control.
struct Service {
  /// What went wrong, or nothing when the configuration is in force. To be called once, from the process that
  /// the Control lives in and not after its end.
  using Done = std::function<void(std::vector<policy::Mistake>)>;
  /// Takes a configuration over, without dropping a flow; Done may be called before it returns.
  std::function<void(const policy::Config&, Done)> take_over;
  std::function<void()> stop;  // drains, then ends
  std::function<TargetHealth(const policy::TargetGroup&, const policy::HostPort&)> health;
  /// Targets that were deregistered, and whose delay is not over. May be empty: none are known.
  std::function<std::vector<policy::HostPort>(const policy::TargetGroup&)> draining = {};
  /// Those of a target's host name. May be empty: none are known.
  std::function<std::vector<std::string>(std::string_view name)> addresses = {};
};

class Control {
 public:
  // Changes that wait for their turn.
  static constexpr std::size_t kWaitingMax = 64;

  /// Logs the changes that are in force from the start.
  Control(Loaded loaded, Service service, base::Log log);
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;
  ~Control();

  /// A JSON object, or what went wrong, for people, in one or more lines.
  using Answer = std::expected<std::string, std::string>;
  using Reply = std::function<void(Answer)>;
  /// `arguments` is a JSON object. The reply is called once, maybe before this returns; it may outlive
  /// whoever asked. Not before the service can take over a configuration.
  void answer(std::string_view name, std::string_view arguments, Reply reply);

  /// In force. Valid until the next call of answer() or of a Done.
  const policy::Config& config() const { return now_.config; }

 private:
  struct Job;

  void work();
  void finish(Job& job, const std::vector<policy::Mistake>& mistakes);
  void refuse(Job& job, const Objections& objections);

  Loaded now_;
  Service service_;
  base::Log log_;
  std::deque<std::shared_ptr<Job>> waiting_;
  bool at_work_ = false;
};

}  // namespace tlsplice::control
