// What serve and the client cases begin and end with: addresses, the process, the turns of a case and its
// line of results.
#pragma once

#include <memory>
#include <string>

#include "crew.hpp"
#include "loop.hpp"
#include "stop.hpp"
#include "tlsplice/base/result.hpp"
#include "verbs.hpp"

namespace tlsplice::load {

/// "192.0.2.1:443" or "[2001:db8::1]:443"
base::Result<net::Address> parse_address(const std::string& text);

/// Prints why nothing could be begun; the exit status.
int cannot(const base::Error& error);

/// As many descriptors as this process may have, and no SIGPIPE.
void prepare_process();

/// One client case from begin to end; a progress line on stderr every second while a person looks on.
class Run {
 public:
  static base::Result<std::unique_ptr<Run>> begin(std::string name, const ClientOptions& options,
                                                  std::uint64_t flows, Crew::MakeTalk make_talk);
  Run(std::string name, const ClientOptions& options, Peer peer, std::uint64_t flows,
      Crew::MakeTalk make_talk);

  /// One turn of the loop, with at most `at_once` flows open, which waits for that long at most. False when
  /// all have ended or a signal came.
  bool turn(std::uint64_t at_once, base::Milliseconds most = Loop::kTurnMax);
  /// Keeps what is open as it is for that long; if it is 0, until a line or the end comes on stdin, or a
  /// signal: which is then no reason to stop.
  void hold(std::chrono::nanoseconds duration);
  /// Prints the line of results, with `more` members; the exit status. What is still open is cut, and that is
  /// a failure.
  int finish(const std::string& more = "");

  Loop& loop() { return loop_; }
  Crew& crew() { return crew_; }

 private:
  void show_progress();

  std::string name_;
  Peer peer_;
  Loop loop_;
  StopSignals stop_;
  Crew crew_;
  base::Instant started_;
  base::Instant next_progress_;
  bool wants_progress_;
};

/// The usual case: turns until all is done.
int run_to_the_end(const std::string& name, const ClientOptions& options, std::uint64_t flows,
                   std::uint64_t at_once, Crew::MakeTalk make_talk);

}  // namespace tlsplice::load
