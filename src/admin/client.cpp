#include "tlsplice/admin/client.hpp"

#include <fmt/format.h>
#include <sys/socket.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "descriptors.hpp"
#include "path.hpp"

namespace tlsplice::admin {

using base::Error;
using base::Result;

namespace {

Result<base::Fd> connect_to(const std::string& path) {
  const auto address = address_of(path);
  if (!address) return base::fail(address.error());
  base::Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return base::fail(Error::system("open a socket", errno));
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) == 0)
    return socket;
  const int error = errno;
  if (error == ENOENT || error == ECONNREFUSED) {
    return base::fail(
        {base::Fault::kRefused, error,
         fmt::format("no service answers on {}: is it running? -c FILE or --socket PATH says where "
                     "else to look",
                     path)});
  }
  if (error == EACCES)
    return base::fail(
        Error::system(fmt::format("ask {}: only the user that started the service may", path), error));
  return base::fail(Error::system(fmt::format("ask {}", path), error));
}

/// So that no call waits longer than that.
void set_patience(int socket, base::Milliseconds patience) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(patience);
  const timeval limit{
      .tv_sec = seconds.count(),
      .tv_usec = static_cast<suseconds_t>(std::chrono::microseconds(patience - seconds).count())};
  ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

}  // namespace

Result<Answer> ask(const std::string& path, const std::string& command, base::Milliseconds patience,
                   const std::string& arguments) {
  auto socket = connect_to(path);
  if (!socket) return base::fail(std::move(socket.error()));
  set_patience(socket->get(), patience);
  const std::string request =
      nlohmann::json{{"command", command}, {"arguments", nlohmann::json::parse(arguments, nullptr, false)}}
          .dump() +
      '\n';
  if (const ssize_t sent = send_with(socket->get(), request, {}); sent != std::ssize(request))
    return base::fail(Error::system(fmt::format("ask {}", path), sent < 0 ? static_cast<int>(-sent) : EIO));
  Answer answer;
  char chunk[65536];
  for (;;) {
    const ssize_t received = receive_with(socket->get(), chunk, answer.descriptors);
    if (received == 0) break;
    if (received == -EINTR) continue;
    if (received == -EAGAIN)
      return base::fail({base::Fault::kTimedOut, 0, fmt::format("{} does not answer", path)});
    if (received < 0)
      return base::fail(Error::system(fmt::format("hear {}", path), static_cast<int>(-received)));
    answer.json.append(chunk, static_cast<std::size_t>(received));
  }
  const auto json = nlohmann::json::parse(answer.json, nullptr, false);
  if (!json.is_object())
    return base::fail({base::Fault::kProtocol, 0, fmt::format("{} broke off its answer", path)});
  if (const auto error = json.find("error"); error != json.end() && error->is_string())
    return base::fail(Error::invalid(error->get<std::string>()));
  return answer;
}

}  // namespace tlsplice::admin
