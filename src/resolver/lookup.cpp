// The two sources are asked one after the other: together, c-ares would not say which one has answered, and
// only one of them knows a time to live.
#include "lookup.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace tlsplice::resolver {
namespace {

constexpr int kTries = 2;  // of each name server
// A name in the search list costs a round of them each, and a resolv.conf may name many of both.
constexpr base::Milliseconds kWholeAtMost{30'000};

}  // namespace

Lookup::Lookup(std::string name, std::string servers, base::Milliseconds attempt)
    : name_(std::move(name)),
      servers_(std::move(servers)),
      attempt_(attempt),
      give_up_at_(base::now() + kWholeAtMost) {
  ask(Source::kHosts);
}

void Lookup::ask(Source source) {
  close();
  source_ = source;
  char hosts[] = "f";
  char dns[] = "b";
  ares_options options{};
  options.flags = ARES_FLAG_NOALIASES;  // no alias of a file that the environment names
  options.lookups = source == Source::kHosts ? hosts : dns;
  options.timeout = static_cast<int>(attempt_.count());
  options.tries = kTries;
  int made = ares_init_options(&channel_, &options,
                               ARES_OPT_FLAGS | ARES_OPT_LOOKUPS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES);
  if (made != ARES_SUCCESS) channel_ = nullptr;
  if (made == ARES_SUCCESS && !servers_.empty())
    made = ares_set_servers_ports_csv(channel_, servers_.c_str());
  if (made != ARES_SUCCESS) return fail(made);
  ares_addrinfo_hints hints{};
  hints.ai_flags = ARES_AI_NOSORT;  // sorting them would take a socket for each
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  status_.reset();
  ares_getaddrinfo(
      channel_, name_.c_str(), nullptr, &hints,
      [](void* self, int status, int, ares_addrinfo* found) {
        static_cast<Lookup*>(self)->take(status, found);
      },
      this);
  settle();
}

/// In a callback of the channel, which must not be closed here.
void Lookup::take(int status, ares_addrinfo* found) {
  status_ = status;
  if (found == nullptr) return;
  found_ = {};
  std::optional<int> ttl;
  const auto lower = [&ttl](int other) { ttl = std::min(ttl.value_or(other), std::max(other, 0)); };
  for (const ares_addrinfo_node* node = found->nodes; node != nullptr; node = node->ai_next) {
    found_.addresses.push_back(net::Address::from(node->ai_addr, node->ai_addrlen));
    lower(node->ai_ttl);
  }
  for (const ares_addrinfo_cname* alias = found->cnames; alias != nullptr; alias = alias->next)
    lower(alias->ttl);
  if (source_ == Source::kDns && ttl) found_.ttl = std::chrono::seconds(*ttl);
  ares_freeaddrinfo(found);
}

/// After a call into c-ares: whether it is done with what it was asked.
void Lookup::settle() {
  if (!status_) {
    timeval wait{};
    const bool timed = ares_timeout(channel_, nullptr, &wait) != nullptr;
    const auto left = std::chrono::seconds(wait.tv_sec) + std::chrono::microseconds(wait.tv_usec);
    const base::Instant next = base::now() + std::chrono::ceil<base::Milliseconds>(left);
    deadline_ = timed ? std::min(next, give_up_at_) : give_up_at_;
    return;
  }
  const int status = *status_;
  if (status == ARES_SUCCESS && !found_.addresses.empty()) {
    answer_ = std::move(found_);
    return close();
  }
  if (source_ == Source::kHosts) return ask(Source::kDns);
  fail(status == ARES_SUCCESS ? ARES_ENODATA : status);
}

void Lookup::fail(int status) {
  answer_ = Answer{.why_not = ares_strerror(status), .addresses = {}, .ttl = {}};
  close();
}

std::vector<pollfd> Lookup::sockets() const {
  std::vector<pollfd> all;
  std::array<ares_socket_t, ARES_GETSOCK_MAXNUM> open{};
  if (channel_ == nullptr) return all;
  const auto wanted = static_cast<unsigned>(ares_getsock(channel_, open.data(), ARES_GETSOCK_MAXNUM));
  for (unsigned i = 0; i < open.size(); ++i) {
    short events = 0;
    if ((wanted >> i & 1U) != 0) events |= POLLIN;
    if ((wanted >> (i + ARES_GETSOCK_MAXNUM) & 1U) != 0) events |= POLLOUT;
    if (events != 0) all.push_back({.fd = open[i], .events = events, .revents = 0});
  }
  return all;
}

void Lookup::watch(std::vector<pollfd>& watched) {
  const auto own = sockets();
  watched_ = own.size();
  watched.insert(watched.end(), own.begin(), own.end());
}

void Lookup::go_on(std::vector<pollfd>::const_iterator& polled) {
  for (; watched_ > 0; --watched_, ++polled) {
    if (answer_ || polled->revents == 0) continue;
    const bool in = (polled->revents & ~POLLOUT) != 0;
    const bool out = (polled->revents & (POLLOUT | POLLERR | POLLHUP)) != 0;
    ares_process_fd(channel_, in ? polled->fd : ARES_SOCKET_BAD, out ? polled->fd : ARES_SOCKET_BAD);
  }
  if (answer_) return;
  if (base::now() >= give_up_at_) return fail(ARES_ETIMEOUT);
  ares_process_fd(channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);  // what has timed out
  settle();
}

/// Lookups that are under way end in a callback.
void Lookup::close() {
  if (channel_ != nullptr) ares_destroy(std::exchange(channel_, nullptr));
}

}  // namespace tlsplice::resolver
