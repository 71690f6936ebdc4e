// The flows of one client case: opens them towards the peer, not too many at once, and sums up how they
// went. The loop owns each flow; the crew hears of its end.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "connection.hpp"
#include "loop.hpp"
#include "tally.hpp"
#include "tlsplice/net/address.hpp"

namespace tlsplice::load {

struct Peer {
  net::Address address;
  SslContext tls;  // null: plain
};

class Crew : public Owner {
 public:
  struct Opened {
    std::uint64_t id;  // 0, 1, ...
    base::Instant at;
    Histogram& latencies;
  };
  using MakeTalk = std::function<std::unique_ptr<Talk>(const Opened& opened)>;

  /// `flows` in all; they outlive neither the loop nor the peer.
  Crew(Loop& loop, const Peer& peer, std::uint64_t flows, MakeTalk make_talk);

  /// Opens what is still to be opened, as long as fewer than `at_once` are open.
  void fill(std::uint64_t at_once);
  bool finished() const { return tally_.flows == flows_ && open_ == 0; }
  std::uint64_t open() const { return open_; }
  /// What is not done by now is cut; an error of that kind unless `why` is empty.
  const Tally& end(const std::string& why);
  const Tally& tally() const { return tally_; }
  void forget_latencies() { tally_.latencies = {}; }

  void ended(Flow& flow, const Turn& end) override;

 private:
  void open_one();
  void failed_to_open(const std::string& doing, int errnum);

  Loop& loop_;
  const Peer& peer_;
  std::uint64_t flows_;
  MakeTalk make_talk_;
  Tally tally_;
  std::uint64_t open_ = 0;
};

/// One line on stderr for a flow that failed; silent after the first few.
void complain(std::uint64_t failed_so_far, const std::string& who, const std::string& why);

}  // namespace tlsplice::load
