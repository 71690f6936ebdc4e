// Requests and answers: one is under way at a time, each a fixed number of bytes of its stream. Also the
// ping, a connection for one byte each way.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "histogram.hpp"
#include "talk.hpp"

namespace tlsplice::load {
namespace {

Turn failed(Io io, const Connection& connection, std::string_view during) {
  switch (io) {
    case Io::kEnd:
      return Turn::failed(fmt::format("ended {}", during));
    case Io::kReset:
      return Turn::failed(fmt::format("reset by the peer {}", during));
    default:
      return Turn::failed(connection.why());
  }
}

/// One message after the other of one direction.
class Messages {
 public:
  Messages(Pattern pattern, std::uint64_t size) : pattern_(pattern), size_(size) {}

  bool begun() const { return moved_ != 0; }
  void next() {
    offset_ += size_;
    moved_ = 0;
  }

  /// kDone once the message is complete.
  Io send(Connection& connection) {
    while (moved_ < size_) {
      const Moved moved = connection.write(pattern_.at(offset_ + moved_, size_ - moved_));
      moved_ += moved.size;
      if (moved.io != Io::kDone) return moved.io;
    }
    return Io::kDone;
  }

  Io receive(Connection& connection, std::span<std::byte> buffer) {
    while (moved_ < size_) {
      const Moved moved =
          connection.read(buffer.first(std::min<std::uint64_t>(buffer.size(), size_ - moved_)));
      if (!first_wrong_) first_wrong_ = pattern_.first_wrong(offset_ + moved_, buffer.first(moved.size));
      moved_ += moved.size;
      if (moved.io != Io::kDone) return moved.io;
    }
    return Io::kDone;
  }

  std::optional<Turn> wrong() const {
    if (!first_wrong_) return std::nullopt;
    return Turn::failed(
        fmt::format("wrong byte at {} of a message of {} bytes", *first_wrong_ % size_, size_));
  }

 private:
  Pattern pattern_;
  std::uint64_t size_;
  std::uint64_t offset_ = 0;
  std::uint64_t moved_ = 0;
  std::optional<std::uint64_t> first_wrong_;
};

/// Reads where nothing but the peer's end is to come.
Turn await_end(Connection& connection, std::span<std::byte> buffer) {
  const Moved moved = connection.read(buffer.first(1));
  if (moved.io == Io::kAgain) return {};
  if (moved.io == Io::kEnd) return Turn::done();
  if (moved.io == Io::kDone) return Turn::failed("more bytes than were asked for");
  return failed(moved.io, connection, "where a clean end was to come");
}

class MessagesClient : public Talk {
 public:
  MessagesClient(const Plan& plan, AskNext ask, Histogram& latencies)
      : plan_(plan),
        ask_(std::move(ask)),
        latencies_(latencies),
        requests_(plan.up_pattern(), plan.up),
        answers_(plan.down_pattern(), plan.down) {
    const PlanBytes sealed = seal(plan);
    opening_.assign(sealed.begin(), sealed.end());
  }

  Turn go_on(Connection& connection, const Moment& moment) override;
  bool resting() const override { return state_ == State::kResting; }
  const Plan* plan() const override { return &plan_; }

 private:
  // kIdle -> kSending -> kReceiving -> kIdle; kIdle <-> kResting; kIdle -> kEnding -> kEnded
  enum class State : std::uint8_t { kIdle, kSending, kReceiving, kResting, kEnding, kEnded };

  Turn rest(Connection& connection, const Moment& moment);
  void begin(base::Instant now);
  Io send(Connection& connection);

  Plan plan_;
  AskNext ask_;
  Histogram& latencies_;
  std::vector<std::byte> opening_;
  Messages requests_;
  Messages answers_;
  State state_ = State::kIdle;
  base::Instant started_{};
};

Turn MessagesClient::go_on(Connection& connection, const Moment& moment) {
  for (;;) {
    if (state_ == State::kIdle || state_ == State::kResting) begin(base::now());
    if (state_ == State::kResting) return rest(connection, moment);
    if (state_ == State::kSending) {
      const Io io = send(connection);
      if (io == Io::kAgain) return {};
      if (io != Io::kDone) return failed(io, connection, "in a request");
      state_ = State::kReceiving;
    }
    if (state_ == State::kReceiving) {
      const Io io = answers_.receive(connection, moment.buffer);
      if (auto wrong = answers_.wrong()) return *std::move(wrong);
      if (io == Io::kAgain) return {};
      if (io != Io::kDone) return failed(io, connection, "in an answer");
      latencies_.add(base::now() - started_);
      requests_.next();
      answers_.next();
      state_ = State::kIdle;
    }
    if (state_ == State::kEnding) {
      const Io io = connection.finish();
      if (io == Io::kAgain) return {};
      if (io != Io::kDone) return failed(io, connection, "after the last answer");
      state_ = State::kEnded;
    }
    if (state_ == State::kEnded) return await_end(connection, moment.buffer);
  }
}

void MessagesClient::begin(base::Instant now) {
  started_ = now;
  const Next next = ask_(now);
  state_ = next == Next::kExchange ? State::kSending : next == Next::kRest ? State::kResting : State::kEnding;
}

Turn MessagesClient::rest(Connection& connection, const Moment& moment) {
  const Moved moved = connection.read(moment.buffer.first(1));
  if (moved.io == Io::kAgain) return {};
  if (moved.io == Io::kDone) return Turn::failed("a byte came while the flow was at rest");
  return failed(moved.io, connection, "while the flow was at rest");
}

Io MessagesClient::send(Connection& connection) {
  while (!opening_.empty()) {
    const Moved moved = connection.write(opening_);
    opening_.erase(opening_.begin(), opening_.begin() + static_cast<std::ptrdiff_t>(moved.size));
    if (moved.io != Io::kDone) return moved.io;
  }
  return requests_.send(connection);
}

class MessagesServer : public Talk {
 public:
  explicit MessagesServer(const Plan& plan)
      : plan_(plan), requests_(plan.up_pattern(), plan.up), answers_(plan.down_pattern(), plan.down) {}

  Turn go_on(Connection& connection, const Moment& moment) override;
  bool resting() const override { return !ending_ && !requests_.begun(); }
  const Plan* plan() const override { return &plan_; }

 private:
  Plan plan_;
  Messages requests_;
  Messages answers_;
  bool answering_ = false;
  bool ending_ = false;
};

Turn MessagesServer::go_on(Connection& connection, const Moment& moment) {
  while (!ending_) {
    if (!answering_) {
      const Io io = requests_.receive(connection, moment.buffer);
      if (auto wrong = requests_.wrong()) return *std::move(wrong);
      if (io == Io::kAgain) return {};
      ending_ = io == Io::kEnd && !requests_.begun();
      if (ending_) break;
      if (io != Io::kDone) return failed(io, connection, "in a request");
      answering_ = true;
    }
    const Io io = answers_.send(connection);
    if (io == Io::kAgain) return {};
    if (io != Io::kDone) return failed(io, connection, "in an answer");
    requests_.next();
    answers_.next();
    answering_ = false;
  }
  const Io io = connection.finish();
  if (io == Io::kAgain) return {};
  return io == Io::kDone ? Turn::done() : failed(io, connection, "at the end");
}

class PingClient : public Talk {
 public:
  PingClient(base::Instant opened, Histogram& latencies) : opened_(opened), latencies_(latencies) {}

  Turn go_on(Connection& connection, const Moment& moment) override {
    if (state_ == State::kSending) {
      const Moved moved = connection.write(Bytes(&kPing, 1));
      if (moved.io == Io::kAgain) return {};
      if (moved.io != Io::kDone) return failed(moved.io, connection, "at the first byte");
      state_ = State::kReceiving;
    }
    if (state_ == State::kReceiving) {
      const Moved moved = connection.read(moment.buffer.first(1));
      if (moved.io == Io::kAgain) return {};
      if (moved.io != Io::kDone) return failed(moved.io, connection, "before the answer");
      if (moment.buffer[0] != kPong) return Turn::failed("the answer is another byte");
      latencies_.add(base::now() - opened_);
      state_ = State::kEnding;
    }
    if (state_ == State::kEnding) {
      const Io io = connection.finish();
      if (io == Io::kAgain) return {};
      if (io != Io::kDone) return failed(io, connection, "at the end");
      state_ = State::kEnded;
    }
    return await_end(connection, moment.buffer);
  }

 private:
  enum class State : std::uint8_t { kSending, kReceiving, kEnding, kEnded };
  base::Instant opened_;
  Histogram& latencies_;
  State state_ = State::kSending;
};

}  // namespace

std::unique_ptr<Talk> messages_client(const Plan& plan, AskNext ask, Histogram& latencies) {
  return std::make_unique<MessagesClient>(plan, std::move(ask), latencies);
}

std::unique_ptr<Talk> messages_server(const Plan& plan) {
  return std::make_unique<MessagesServer>(plan);
}

std::unique_ptr<Talk> ping_client(base::Instant opened, Histogram& latencies) {
  return std::make_unique<PingClient>(opened, latencies);
}

}  // namespace tlsplice::load
