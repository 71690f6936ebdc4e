// The first bytes of a flow say what it is: a ping is answered, a plan is followed.
#include <algorithm>

#include "talk.hpp"

namespace tlsplice::load {
namespace {

class ServerTalk : public Talk {
 public:
  Turn go_on(Connection& connection, const Moment& moment) override {
    if (!follows_ && !ponging_) {
      const Turn turn = greet(connection);
      if (!follows_ && !ponging_) return turn;
    }
    return ponging_ ? pong(connection, moment) : follows_->go_on(connection, moment);
  }

  /// A client that has said nothing yet may take its time: only its own side knows how long.
  bool resting() const override { return follows_ ? follows_->resting() : !ponging_ && came_ == 0; }
  const Plan* plan() const override { return follows_ ? follows_->plan() : nullptr; }

 private:
  Turn greet(Connection& connection);
  Turn pong(Connection& connection, const Moment& moment);

  PlanBytes bytes_{};
  std::size_t came_ = 0;
  std::unique_ptr<Talk> follows_;
  bool ponging_ = false;
  bool ponged_ = false;
};

Turn ServerTalk::greet(Connection& connection) {
  while (came_ < bytes_.size()) {
    const Moved moved = connection.read(std::span(bytes_).subspan(came_));
    came_ += moved.size;
    if (came_ != 0 && bytes_[0] == kPing) {
      if (came_ > 1) return Turn::failed("more than one byte in a ping");
      ponging_ = true;
      return {};
    }
    if (moved.io == Io::kDone) continue;
    if (moved.io == Io::kAgain) return {};
    if (came_ == 0 && moved.io != Io::kFailed) return Turn::done();  // looked in, and left
    return Turn::failed(moved.io == Io::kFailed ? connection.why() : "the plan of the flow broke off");
  }
  const auto plan = unseal(bytes_);
  if (!plan) return Turn::failed("a wrong byte in the plan of the flow");
  follows_ =
      plan->kind == Kind::kMessages ? messages_server(*plan) : stream_talk(Connection::Role::kServer, *plan);
  return {};
}

Turn ServerTalk::pong(Connection& connection, const Moment& moment) {
  if (!ponged_) {
    const Moved moved = connection.write(Bytes(&kPong, 1));
    if (moved.io == Io::kAgain) return {};
    if (moved.io != Io::kDone) return Turn::failed("gone before the answer to a ping");
    ponged_ = true;
  }
  const Moved moved = connection.read(moment.buffer.first(1));
  if (moved.io == Io::kAgain) return {};
  if (moved.io == Io::kDone) return Turn::failed("more than one byte in a ping");
  if (moved.io == Io::kReset) return Turn::failed("reset by the peer after a ping");
  if (moved.io == Io::kFailed) return Turn::failed(connection.why());
  const Io io = connection.finish();
  if (io == Io::kAgain) return {};
  return io == Io::kDone ? Turn::done() : Turn::failed("gone before the end of a ping");
}

}  // namespace

std::unique_ptr<Talk> server_talk() {
  return std::make_unique<ServerTalk>();
}

}  // namespace tlsplice::load
