// The line of the access log. Its fields are gathered once, in the load balancer's order and under its names
// of today; the formats differ in how many of them they show, and how.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <vector>

#include "tlsplice/observe/access_log.hpp"

namespace tlsplice::observe {
namespace {

constexpr std::size_t kFieldsOfVersion1 = 18;
constexpr std::size_t kAlpnTextMax = 256;

struct Field {
  const char* name;
  std::string text;  // empty: not there
  bool number = false;
};

std::string number(std::uint64_t value) {
  return fmt::format("{}", value);
}

/// Everything but RFC 3986's unreserved characters and `also` as %XX.
std::string url_encoded(std::string_view text, std::string_view also = {}) {
  static constexpr std::string_view kUnreserved =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
  if (text == "-") return "%2D";  // alone it would say: not there
  std::string out;
  for (const char c : text) {
    if (kUnreserved.contains(c) || also.contains(c)) {
      out += c;
    } else {
      fmt::format_to(std::back_inserter(out), "%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

/// "h2","http/1.1": cut where the load balancer cuts it, though not inside of a %XX.
std::string alpn_list(const FlowRecord& record) {
  std::string out;
  std::string_view left = record.alpn_offer ? std::string_view(*record.alpn_offer) : std::string_view();
  while (!left.empty()) {
    const std::string_view protocol = left.substr(1, static_cast<unsigned char>(left.front()));
    left.remove_prefix(1 + protocol.size());
    fmt::format_to(std::back_inserter(out), "{}\"{}\"", out.empty() ? "" : ",", url_encoded(protocol, "/"));
  }
  if (out.size() <= kAlpnTextMax) return out;
  const std::size_t escape = out.rfind('%', kAlpnTextMax - 1);
  out.resize(escape != std::string::npos && escape + 3 > kAlpnTextMax ? escape : kAlpnTextMax);
  return out;
}

std::string in_whole_seconds(base::WallTime at) {
  const std::time_t seconds =
      std::chrono::system_clock::to_time_t(std::chrono::floor<std::chrono::seconds>(at));
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}", fmt::gmtime(seconds));
}

/// "tlsv12" for OpenSSL's "TLSv1.2", "tlsv10" for its "TLSv1".
std::string protocol_word(std::string_view protocol) {
  if (protocol == "TLSv1") return "tlsv10";
  if (protocol == "TLSv1.1") return "tlsv11";
  if (protocol == "TLSv1.2") return "tlsv12";
  if (protocol == "TLSv1.3") return "tlsv13";
  return {};
}

std::string unless_dash(std::string_view text) {
  return text == "-" ? std::string() : std::string(text);
}

std::vector<Field> fields_of(AccessLogFormat format, const FlowRecord& record, const AccessLogNames& names,
                             base::Instant now, base::WallTime at) {
  const bool version1 = format == AccessLogFormat::kVersion1;
  const auto lived = std::chrono::duration_cast<base::Milliseconds>(now - record.started);
  const bool handshaken = record.handshake_ms != FlowRecord::kNoHandshake;
  std::vector<Field> fields = {
      {"type", record.tls ? "tls" : "tcp"},
      {"version", version1 ? "1.0" : "2.0"},
      {"time", in_whole_seconds(at)},
      {"elb", url_encoded(names.load_balancer, "/:")},
      {"listener", url_encoded(record.listener)},
      {"client_port", record.client.text()},
      {"destination_port", record.destination.text()},
      {"connection_time", number(static_cast<std::uint64_t>(lived.count())), true},
      {"tls_handshake_time", handshaken ? number(record.handshake_ms) : "", true},
      {"received_bytes", number(record.received), true},
      {"sent_bytes", number(record.sent), true},
      {"incoming_tls_alert",
       record.incoming_alert >= 0 ? number(static_cast<std::uint64_t>(record.incoming_alert)) : "", true},
      {"chosen_cert_arn", record.valid_hello ? url_encoded(names.certificate, "/:") : ""},
      {"chosen_cert_serial", ""},  // reserved
      {"tls_cipher", unless_dash(record.cipher)},
      {"tls_protocol_version", protocol_word(record.protocol)},
      {"tls_keyexchange", version1 ? "" : unless_dash(record.group)},
      {"domain_name", url_encoded(record.server_name)},
      {"alpn_fe_protocol", unless_dash(record.alpn)},
      {"alpn_be_protocol", unless_dash(record.target_alpn)},
      {"alpn_client_preference_list", alpn_list(record)},
      {"tls_connection_creation_time", in_whole_seconds(at - lived)}};
  if (version1) fields.resize(kFieldsOfVersion1);
  return fields;
}

std::string in_columns(const std::vector<Field>& fields) {
  std::string line;
  for (const Field& field : fields) {
    if (!line.empty()) line += ' ';
    line += field.text.empty() ? "-" : field.text;
  }
  return line + '\n';
}

/// Of what JSON would have escaped only quotes are in a value: the fields' own rules see to it.
std::string in_json(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '"') out += '\\';
    out += c;
  }
  return out;
}

std::string as_json(const std::vector<Field>& fields) {
  std::string line;
  for (const Field& field : fields) {
    const std::string_view quote = field.text.empty() || field.number ? "" : "\"";
    fmt::format_to(std::back_inserter(line), "{}\"{}\":{}{}{}", line.empty() ? "{" : ",", field.name, quote,
                   field.text.empty() ? "null" : in_json(field.text), quote);
  }
  return line + "}\n";
}

}  // namespace

std::string access_log_line(AccessLogFormat format, const FlowRecord& record, const AccessLogNames& names,
                            base::Instant now, base::WallTime at) {
  const std::vector<Field> fields = fields_of(format, record, names, now, at);
  return format == AccessLogFormat::kJson ? as_json(fields) : in_columns(fields);
}

}  // namespace tlsplice::observe
