// The loop of the resolver process: which names are due, the lookups under way, reports to the master.
#include "tlsplice/resolver/resolver.hpp"

#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <memory>
#include <optional>

#include "entry.hpp"
#include "lookup.hpp"
#include "tlsplice/resolver/report.hpp"

namespace tlsplice::resolver {
namespace {

constexpr std::ptrdiff_t kLookupsMax = 16;  // at a time; each has a few sockets

struct Name {
  std::string name;
  Entry entry;
  std::unique_ptr<Lookup> lookup;  // null: none is under way
  bool asked = false;
  std::optional<std::vector<std::string>> reported;
  std::string refused;  // of the last answer, as they were logged
  std::size_t left_out = 0;
};

class Resolver {
 public:
  explicit Resolver(Setup setup) : setup_(std::move(setup)) {
    ares_library_init(ARES_LIB_INIT_ALL);
    for (const auto& [name, known] : setup_.names)
      names_.push_back({.name = name,
                        .entry = Entry(known, setup_.times, base::now()),
                        .lookup = {},
                        .reported = {},
                        .refused = {}});
  }
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;
  ~Resolver() {
    names_.clear();
    ares_library_cleanup();
  }

  int run();

 private:
  void begin_lookups();
  void take(Name& name);
  std::vector<std::string> usable(Name& name, const Lookup::Answer& answer);
  bool report();
  base::Instant next_deadline() const;

  Setup setup_;
  std::vector<Name> names_;
  bool unsaid_ = false;  // the channel was full
};

int Resolver::run() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGQUIT);
  const base::Fd end(::signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!end) {
    setup_.log.error("resolver_failed", {{"error", base::Error::system("open a signalfd", errno).text()}});
    return 1;
  }
  std::vector<pollfd> watched;
  for (;;) {
    begin_lookups();
    if (!report()) return 0;
    const short channel_events = unsaid_ ? POLLIN | POLLOUT : POLLIN;
    watched = {{.fd = end.get(), .events = POLLIN, .revents = 0},
               {.fd = setup_.channel.get(), .events = channel_events, .revents = 0}};
    for (Name& name : names_) {
      if (name.lookup) name.lookup->watch(watched);
    }
    const auto wait = std::chrono::ceil<base::Milliseconds>(next_deadline() - base::now()).count();
    ::poll(watched.data(), watched.size(), static_cast<int>(std::clamp<std::int64_t>(wait, 0, 60'000)));
    // Nothing is ever said to us: the channel is readable when the master is gone.
    if (watched[0].revents != 0 || (watched[1].revents & ~POLLOUT) != 0) return 0;
    auto polled = watched.cbegin() + 2;
    for (Name& name : names_) {
      if (!name.lookup) continue;
      name.lookup->go_on(polled);
      if (name.lookup->answer()) take(name);
    }
  }
}

/// Of names that are due, those first that have been for longest.
void Resolver::begin_lookups() {
  auto under_way = std::ranges::count_if(names_, [](const Name& name) { return name.lookup != nullptr; });
  for (; under_way < kLookupsMax; ++under_way) {
    Name* next = nullptr;
    for (Name& name : names_) {
      if (!name.lookup && (next == nullptr || name.entry.due() < next->entry.due())) next = &name;
    }
    if (next == nullptr || next->entry.due() > base::now()) return;
    next->lookup = std::make_unique<Lookup>(next->name, setup_.servers, setup_.times.attempt);
    if (next->lookup->answer()) take(*next);
  }
}

void Resolver::take(Name& name) {
  const Lookup::Answer answer = *name.lookup->answer();
  name.lookup.reset();
  name.asked = true;
  std::string why = answer.why_not;
  const std::vector<std::string> addresses = usable(name, answer);
  if (why.empty() && addresses.empty()) why = "no address in the answer that a target can have";
  if (!why.empty()) {
    if (name.entry.enter_failure(base::now())) {
      setup_.log.warning("name_not_resolved",
                         {{"name", name.name},
                          {"why", why},
                          {"addresses", name.entry.addresses().size()},
                          {"remedy", "targets stay as they were; it is asked for again"}});
    }
    return;
  }
  if (name.entry.enter({addresses, answer.ttl}, base::now()))
    setup_.log.info("name_resolved", {{"name", name.name}, {"addresses", name.entry.addresses().size()}});
  if (name.entry.left_out() != std::exchange(name.left_out, name.entry.left_out()) && name.left_out > 0) {
    setup_.log.warning("addresses_left_out",
                       {{"name", name.name}, {"count", name.left_out}, {"limit", kAddressesOfANameMax}});
  }
}

/// Of what was answered; says once which addresses are refused.
std::vector<std::string> Resolver::usable(Name& name, const Lookup::Answer& answer) {
  std::vector<std::string> good;
  std::string refused;
  std::string_view why;
  for (const net::Address& address : answer.addresses) {
    const std::string_view reason = why_unusable(address);
    if (reason.empty()) {
      good.push_back(address.host());
    } else if (refused.size() < 256) {
      why = reason;
      refused += (refused.empty() ? "" : " ") + address.host();
    }
  }
  if (refused != name.refused && !refused.empty())
    setup_.log.warning("addresses_refused", {{"name", name.name}, {"addresses", refused}, {"why", why}});
  if (answer.why_not.empty()) name.refused = std::move(refused);
  return good;
}

/// False when nobody listens.
bool Resolver::report() {
  unsaid_ = false;
  for (Name& name : names_) {
    if (!name.asked || name.reported == name.entry.addresses()) continue;
    const std::string text = to_text({name.name, name.entry.addresses()});
    if (::send(setup_.channel.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
      unsaid_ = errno == EAGAIN || errno == EINTR || errno == ENOBUFS;
      return unsaid_;
    }
    name.reported = name.entry.addresses();
  }
  return true;
}

base::Instant Resolver::next_deadline() const {
  base::Instant next = base::Instant::max();
  std::ptrdiff_t under_way = 0;
  for (const Name& name : names_) {
    if (!name.lookup) continue;
    ++under_way;
    next = std::min(next, name.lookup->next_deadline());
  }
  for (const Name& name : names_) {
    if (!name.lookup && under_way < kLookupsMax) next = std::min(next, name.entry.due());
  }
  return next;
}

}  // namespace

int run(Setup setup) {
  return Resolver(std::move(setup)).run();
}

}  // namespace tlsplice::resolver
