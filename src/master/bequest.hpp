// What a master leaves to the program that takes its place in the same process (execve(2)): the listening
// sockets, the workers that serve and those that retire, what they all have counted, how the targets are and
// what is left of their delays. It is written into a memfd, as JSON, with the numbers of descriptors that
// stay open across the call; the successor may be of another version. What the successor cannot read, it does
// without.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "departures.hpp"
#include "tlsplice/base/fd.hpp"
#include "tlsplice/base/result.hpp"
#include "tlsplice/observe/counters.hpp"
#include "tlsplice/policy/config.hpp"

namespace tlsplice::master {

/// Descriptors are numbers here: whoever writes keeps them open, whoever reads owns them.
struct Bequest {
  struct Table {
    observe::Shape shape;
    observe::Backing rows;
  };
  struct Worker {
    std::size_t index = 0;
    pid_t process = 0;
    int channel = -1;
  };
  struct Generation {
    std::uint64_t number = 0;
    std::string access_log;
    base::Milliseconds drain_timeout{};
    std::vector<policy::HostPort> client_ip_targets;  // those that see their clients' addresses
    // What the next configuration is compared with, to end flows: names, targets and delays, and weights.
    std::vector<policy::TargetGroup> target_groups;
    std::vector<policy::Listener> listeners;
    Table table;
    int loads = -1;  // steering::Loads
    std::vector<Worker> workers;
  };
  struct Health {
    std::uint64_t layout = 0;  // targets::health_layout()
    std::size_t count = 0;     // of targets
    int rows = -1;
  };
  struct Listener {
    policy::HostPort address;
    bool alone = false;         // Doors::alone_
    int steering_sockets = -1;  // the map of sockets of the program in front; -1: none
    std::vector<int> sockets;   // one a worker
  };

  std::uint64_t layout = 0;  // observe::layout()
  std::uint64_t flow_hash_seed = 0;
  Table past;
  Generation serving;
  std::vector<Listener> listeners;  // of that generation
  std::vector<bool> shut;           // [worker]: its sockets do not listen, because it is stuck or dies young
  std::vector<Generation> retired;
  Health health;  // of the serving generation's targets
  Departures::Left departures;
  std::map<std::string, std::vector<std::string>> names;  // addresses of targets' host names
};

/// Writes it down, lets every descriptor in it stay open across execve(2), and names it in the environment.
base::Result<void> leave(const Bequest& bequest);
/// execve(2) has failed: as if leave() had not been called.
void take_back(const Bequest& bequest);
/// For who has read the tables, or cannot: mapping them takes descriptors of its own.
void close_tables(const Bequest& bequest);
/// Whether a master has left something for this process.
bool is_successor();
/// What it is; the environment then no longer has it. None, too, when it cannot be understood.
std::optional<Bequest> receive_bequest();

}  // namespace tlsplice::master
