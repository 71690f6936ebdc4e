// tlsplice flows: what the workers know of each live flow, beside what the kernel says of its two sockets.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "live_flows.hpp"
#include "text_table.hpp"
#include "tlsplice/netlink/sockets.hpp"
#include "verbs.hpp"

namespace tlsplice::cli {
namespace {

using nlohmann::json;
using Sockets = std::unordered_map<std::uint64_t, netlink::TcpSocket>;

/// By cookie. Without the right to hear of TLS, the rest.
Sockets ask_kernel() {
  auto found = netlink::tcp_sockets({.established_only = false});
  if (!found) {
    fmt::print(stderr, "tlsplice flows: {}\n", found.error().text());
    found = netlink::tcp_sockets({.established_only = false, .tls = false});
  }
  Sockets sockets;
  if (!found) return sockets;
  sockets.reserve(found->size());
  for (netlink::TcpSocket& socket : *found) sockets.emplace(socket.cookie, std::move(socket));
  return sockets;
}

const netlink::TcpSocket* find(const Sockets& sockets, std::uint64_t cookie) {
  const auto found = sockets.find(cookie);
  return cookie == 0 || found == sockets.end() ? nullptr : &found->second;
}

/// A server name is the client's to choose: nothing of it may reach a terminal that is no letter.
std::string printable(std::string_view text) {
  std::string out(text.empty() ? "-" : text);
  std::ranges::replace_if(out, [](char c) { return c <= ' ' || c >= 0x7f; }, '?');
  return out;
}

// ---- the table

using Row = std::vector<std::string>;

const Row kHeading = {"LISTENER", "CLIENT",   "TARGET", "STATE",       "AGE_S",  "FROM_CLIENT", "TO_CLIENT",
                      "PROTOCOL", "CIPHER",   "ALPN",   "SERVER_NAME", "RELAY",  "KTLS",        "TLS_TX",
                      "TLS_RX",   "TLS_INFO", "RTT_MS", "RETRANS",     "RECV_Q", "SEND_Q",      "WORKER"};

/// "client's,target's", from what the kernel says of both.
template <typename Say>
std::string of_both(const netlink::TcpSocket* client, const netlink::TcpSocket* target, Say say) {
  const auto one = [&](const netlink::TcpSocket* socket) {
    return socket == nullptr ? std::string("-") : say(*socket);
  };
  return one(client) + ',' + one(target);
}

std::string records(const netlink::TcpSocket& socket, netlink::Records netlink::KernelTls::* way) {
  return socket.tls ? netlink::to_string((*socket.tls).*way) : "-";
}

std::string tls_info(const netlink::TcpSocket& socket) {
  if (!socket.tls || socket.tls->version == 0) return "-";
  return socket.tls->version_name() + '/' + socket.tls->cipher_name();
}

Row row_of(const tlsplice_flow& flow, const Sockets& sockets) {
  const auto* client = find(sockets, flow.client_cookie);
  const auto* target = find(sockets, flow.target_cookie);
  const auto both = [&](auto say) { return of_both(client, target, say); };
  using netlink::KernelTls;
  using netlink::TcpSocket;
  const auto way = [](const char* how) { return *how == '\0' ? "-" : how; };
  return {flow.listener,
          flow.client,
          *flow.target == '\0' ? "-" : flow.target,
          flow.state,
          fmt::format("{:.1f}", static_cast<double>(flow.age_ms) / 1000),
          std::to_string(flow.received),
          std::to_string(flow.sent),
          flow.protocol,
          flow.cipher,
          fmt::format("{},{}", flow.alpn, flow.target_alpn),
          printable(flow.server_name),
          fmt::format("{}:{},{}", flow.relay, way(flow.from_client), way(flow.to_client)),
          fmt::format("{},{}", flow.client_ktls, flow.target_ktls),
          both([](const TcpSocket& socket) { return records(socket, &KernelTls::send); }),
          both([](const TcpSocket& socket) { return records(socket, &KernelTls::receive); }),
          both(tls_info),
          both([](const TcpSocket& socket) { return fmt::format("{:.3g}", socket.round_trip_us / 1000.0); }),
          both([](const TcpSocket& socket) { return std::to_string(socket.retransmits); }),
          both([](const TcpSocket& socket) { return std::to_string(socket.receive_queue_bytes); }),
          both([](const TcpSocket& socket) { return std::to_string(socket.send_queue_bytes); }),
          std::to_string(flow.worker)};
}

void print_table(const std::vector<tlsplice_flow>& flows, const Sockets& sockets) {
  TextTable table(kHeading);
  for (const tlsplice_flow& flow : flows) table.add(row_of(flow, sockets));
  for (const std::string& line : table.lines()) fmt::print("{}\n", line);
}

// ---- JSON

json json_of(const char* ktls, std::uint64_t cookie, const Sockets& sockets) {
  if (cookie == 0) return nullptr;
  json out = {{"cookie", cookie}, {"ktls", ktls}};
  const auto* socket = find(sockets, cookie);
  if (socket == nullptr) return out;
  out["rtt_us"] = socket->round_trip_us;
  out["retransmits"] = socket->retransmits;
  out["receive_queue_bytes"] = socket->receive_queue_bytes;
  out["send_queue_bytes"] = socket->send_queue_bytes;
  if (socket->tls) {
    out["tls"] = {{"version", socket->tls->version_name()},
                  {"cipher", socket->tls->cipher_name()},
                  {"tx", netlink::to_string(socket->tls->send)},
                  {"rx", netlink::to_string(socket->tls->receive)}};
  }
  return out;
}

json json_of(const tlsplice_flow& flow, const Sockets& sockets) {
  const auto text_or_null = [](const char* text) { return *text == '\0' ? json(nullptr) : json(text); };
  return {{"listener", flow.listener},
          {"client", flow.client},
          {"target", text_or_null(flow.target)},
          {"state", flow.state},
          {"age_ms", flow.age_ms},
          {"received_bytes", flow.received},
          {"sent_bytes", flow.sent},
          {"protocol", flow.protocol},
          {"cipher", flow.cipher},
          {"group", flow.group},
          {"alpn", {{"client", flow.alpn}, {"target", flow.target_alpn}}},
          {"server_name", text_or_null(flow.server_name)},
          {"relay",
           {{"mode", flow.relay},
            {"from_client", text_or_null(flow.from_client)},
            {"to_client", text_or_null(flow.to_client)}}},
          {"client_socket", json_of(flow.client_ktls, flow.client_cookie, sockets)},
          {"target_socket", json_of(flow.target_ktls, flow.target_cookie, sockets)},
          {"worker", flow.worker}};
}

void print_json(const LiveFlows& told, const Sockets& sockets) {
  json flows = json::array();
  for (const tlsplice_flow& flow : told.flows) flows.push_back(json_of(flow, sockets));
  const json all = {{"flows", std::move(flows)}, {"missing", told.missing}};
  fmt::print("{}\n", all.dump(1, ' ', false, json::error_handler_t::replace));
}

/// Whether "address:port" is what the filter names: the address alone, in brackets or not, or with the port.
bool is_peer(std::string_view peer, std::string_view filter) {
  if (peer == filter) return true;
  std::string_view ip = peer.substr(0, peer.rfind(':'));
  if (ip == filter) return true;
  return ip.starts_with('[') && ip.substr(1, ip.size() - 2) == filter;
}

}  // namespace

int flows(const std::string& admin_socket, const FlowFilter& filter, bool as_json) {
  auto told = live_flows(admin_socket);
  if (!told) {
    fmt::print(stderr, "tlsplice flows: {}\n", told.error().text());
    return kExitFailed;
  }
  std::erase_if(told->flows, [&](const tlsplice_flow& flow) {
    return (!filter.listener.empty() && filter.listener != flow.listener) ||
           (!filter.peer.empty() && !is_peer(flow.client, filter.peer) && !is_peer(flow.target, filter.peer));
  });
  std::ranges::sort(told->flows, std::greater<>(), &tlsplice_flow::age_ms);
  const Sockets sockets = told->flows.empty() ? Sockets() : ask_kernel();
  as_json ? print_json(*told, sockets) : print_table(told->flows, sockets);
  for (const std::string& worker : told->missing)
    fmt::print(stderr, "tlsplice flows: {} does not answer; its flows are missing, or some of them\n",
               worker);
  return told->missing.empty() ? kExitDone : kExitFailed;
}

}  // namespace tlsplice::cli
