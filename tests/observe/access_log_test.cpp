// Promised: a line of the access log is the record under the load balancer's field rules, each field checked
// by itself; whatever a client sent, fields stay fields. Lines are dropped and counted where writing would
// wait or fail, and a line that a full disk cut short does not spoil the next one.
#include "tlsplice/observe/access_log.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <vector>

#include "../base/child.hpp"

namespace tlsplice::observe {
namespace {

using base::Milliseconds;

constexpr base::Instant kStarted = base::Instant() + std::chrono::hours(3);
constexpr AccessLogNames kNames{.load_balancer = "net/lb/0123456789abcdef",
                                .certificate = "/etc/tlsplice/web.pem"};

FlowRecord good() {
  FlowRecord record;
  record.listener = "web";
  record.tls = true;
  record.client = net::Address::parse("192.0.2.1", 50000).value();
  record.destination = net::Address::parse("198.51.100.7", 443).value();
  record.server_name = "www.example.com";
  record.protocol = "TLSv1.2";
  record.cipher = "ECDHE-RSA-AES128-GCM-SHA256";
  record.group = "x25519";
  record.received = 98;
  record.sent = 4'000'000'000'000;
  record.handshake_ms = 2;
  record.valid_hello = true;
  record.started = kStarted;
  return record;
}

/// What a flow leaves that never came to a handshake.
FlowRecord failed() {
  FlowRecord record;
  record.listener = "web";
  record.tls = true;
  record.client = net::Address::parse("192.0.2.1", 50000).value();
  record.destination = net::Address::parse("198.51.100.7", 443).value();
  record.started = kStarted;
  record.end = End::kHandshakeFailed;
  return record;
}

std::string line_of(const FlowRecord& record, AccessLogFormat format = AccessLogFormat::kVersion2,
                    const AccessLogNames& names = kNames) {
  const base::WallTime at = std::chrono::sys_days(std::chrono::year(2026) / 4 / 1) + std::chrono::hours(8) +
                            std::chrono::milliseconds(400);
  return access_log_line(format, record, names, kStarted + Milliseconds(5250), at);
}

std::string field(std::size_t number, const FlowRecord& record,
                  AccessLogFormat format = AccessLogFormat::kVersion2, const AccessLogNames& names = kNames) {
  std::istringstream line(line_of(record, format, names));
  std::string word;
  for (std::size_t i = 0; i < number; ++i) line >> word;
  return word;
}

TEST(AccessLogLine, OfVersion2Has22Fields) {
  EXPECT_EQ(line_of(good()),
            "tls 2.0 2026-04-01T08:00:00 net/lb/0123456789abcdef web 192.0.2.1:50000 198.51.100.7:443 5250 2 "
            "98 4000000000000 - /etc/tlsplice/web.pem - ECDHE-RSA-AES128-GCM-SHA256 tlsv12 x25519 "
            "www.example.com - - - 2026-04-01T07:59:55\n");
}

TEST(AccessLogLine, OfVersion1Has18AndNoNamedGroup) {
  EXPECT_EQ(line_of(good(), AccessLogFormat::kVersion1),
            "tls 1.0 2026-04-01T08:00:00 net/lb/0123456789abcdef web 192.0.2.1:50000 198.51.100.7:443 5250 2 "
            "98 4000000000000 - /etc/tlsplice/web.pem - ECDHE-RSA-AES128-GCM-SHA256 tlsv12 - "
            "www.example.com\n");
}

TEST(AccessLogLine, AsJsonHasTheSameFieldsByName) {
  EXPECT_EQ(line_of(failed(), AccessLogFormat::kJson),
            R"({"type":"tls","version":"2.0","time":"2026-04-01T08:00:00","elb":"net/lb/0123456789abcdef",)"
            R"("listener":"web","client_port":"192.0.2.1:50000","destination_port":"198.51.100.7:443",)"
            R"("connection_time":5250,"tls_handshake_time":null,"received_bytes":0,"sent_bytes":0,)"
            R"("incoming_tls_alert":null,"chosen_cert_arn":null,"chosen_cert_serial":null,)"
            R"("tls_cipher":null,"tls_protocol_version":null,"tls_keyexchange":null,"domain_name":null,)"
            R"("alpn_fe_protocol":null,"alpn_be_protocol":null,"alpn_client_preference_list":null,)"
            R"("tls_connection_creation_time":"2026-04-01T07:59:55"})"
            "\n");
  const std::string line = line_of(good(), AccessLogFormat::kJson);
  EXPECT_NE(line.find(R"("tls_handshake_time":2,"received_bytes":98,)"), std::string::npos) << line;
  EXPECT_NE(line.find(R"("tls_cipher":"ECDHE-RSA-AES128-GCM-SHA256")"), std::string::npos) << line;
}

TEST(AccessLogLine, OfAFailedHandshakeHasADashForWhatIsNotThere) {
  EXPECT_EQ(line_of(failed()),
            "tls 2.0 2026-04-01T08:00:00 net/lb/0123456789abcdef web 192.0.2.1:50000 198.51.100.7:443 5250 - "
            "0 0 - - - - - - - - - - 2026-04-01T07:59:55\n");
}

TEST(AccessLogLine, OfATcpListenerHasADashForWhatIsTls) {
  FlowRecord record = failed();
  record.tls = false;
  record.received = 17;
  EXPECT_EQ(line_of(record),
            "tcp 2.0 2026-04-01T08:00:00 net/lb/0123456789abcdef web 192.0.2.1:50000 198.51.100.7:443 5250 - "
            "17 0 - - - - - - - - - - 2026-04-01T07:59:55\n");
  EXPECT_EQ(field(1, record, AccessLogFormat::kVersion1), "tcp");
  EXPECT_TRUE(line_of(record, AccessLogFormat::kJson).starts_with(R"({"type":"tcp","version":"2.0",)"));
}

TEST(AccessLogLine, NamesTheCertificateOnceTheHelloIsRead) {
  FlowRecord record = failed();
  record.valid_hello = true;
  record.server_name = "a.example";
  EXPECT_EQ(field(13, record), "/etc/tlsplice/web.pem");
  EXPECT_EQ(field(18, record), "a.example");
  EXPECT_EQ(field(13, record, AccessLogFormat::kVersion2, {"net/lb/0", "/with space/ü.pem"}),
            "/with%20space/%C3%BC.pem");
}

TEST(AccessLogLine, HasTheLoadBalancersWordForEachProtocol) {
  for (const auto& [protocol, word] : std::vector<std::pair<const char*, std::string>>{
           {"TLSv1", "tlsv10"}, {"TLSv1.1", "tlsv11"}, {"TLSv1.2", "tlsv12"}, {"TLSv1.3", "tlsv13"}}) {
    FlowRecord record = good();
    record.protocol = protocol;
    EXPECT_EQ(field(16, record), word);
  }
}

TEST(AccessLogLine, TellsAnAlertFromNone) {
  FlowRecord record = failed();
  for (const int alert : {0, 48, 255}) {
    record.incoming_alert = static_cast<std::int16_t>(alert);
    EXPECT_EQ(field(12, record), std::to_string(alert));
  }
}

TEST(AccessLogLine, HasAHandshakeOfNoTimeAtAll) {
  FlowRecord record = good();
  record.handshake_ms = 0;
  EXPECT_EQ(field(9, record), "0");
}

TEST(AccessLogLine, HasIpv6AddressesInBrackets) {
  FlowRecord record = good();
  record.client = net::Address::parse("2001:db8::1", 50000).value();
  record.destination = net::Address::parse("::1", 443).value();
  EXPECT_EQ(field(6, record), "[2001:db8::1]:50000");
  EXPECT_EQ(field(7, record), "[::1]:443");
}

TEST(AccessLogLine, EncodesWhatAServerNameMayNotHave) {
  FlowRecord record = good();
  for (const auto& [name, text] :
       std::vector<std::pair<std::string, std::string>>{{"", "-"},
                                                        {"-", "%2D"},
                                                        {"a-b.c_d~e", "a-b.c_d~e"},
                                                        {"two words", "two%20words"},
                                                        {"\"\\", "%22%5C"},
                                                        {"a\r\nb", "a%0D%0Ab"},
                                                        {"100%", "100%25"},
                                                        {std::string("\0\x7f\xff", 3), "%00%7F%FF"},
                                                        {"a/b:c", "a%2Fb%3Ac"},
                                                        {"ü", "%C3%BC"}}) {
    record.server_name = name;
    EXPECT_EQ(field(18, record), text);
    const std::string json = line_of(record, AccessLogFormat::kJson);
    EXPECT_NE(json.find(text == "-" ? "\"domain_name\":null" : "\"domain_name\":\"" + text + "\""),
              std::string::npos)
        << json;
  }
}

/// As it comes from a client.
std::unique_ptr<const std::string> alpn_offer(const std::vector<std::string>& protocols) {
  std::string list;
  for (const std::string& protocol : protocols) list += static_cast<char>(protocol.size()) + protocol;
  return std::make_unique<const std::string>(list.substr(0, 256));
}

TEST(AccessLogLine, TellsTheApplicationProtocols) {
  FlowRecord record = good();
  EXPECT_EQ(field(19, record) + field(20, record) + field(21, record), "---");
  record.alpn_offer = alpn_offer({"h2", "http/1.1"});
  EXPECT_EQ(field(19, record), "-") << "nothing in common";
  EXPECT_EQ(field(21, record), R"("h2","http/1.1")");
  record.alpn = "h2";
  EXPECT_EQ(field(19, record), "h2");
  record.target_alpn = "http/1.0";
  EXPECT_EQ(field(20, record), "http/1.0");
  const std::string json = line_of(record, AccessLogFormat::kJson);
  EXPECT_NE(json.find(R"("alpn_fe_protocol":"h2","alpn_be_protocol":"http/1.0",)"
                      R"("alpn_client_preference_list":"\"h2\",\"http/1.1\"",)"),
            std::string::npos)
      << json;
}

TEST(AccessLogLine, EncodesWhatAClientOffers) {
  FlowRecord record = good();
  for (const auto& [protocols, text] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"acme-tls/1"}, R"("acme-tls/1")"},
           {{"a b", "\",\"", "\r\n"}, R"("a%20b","%22%2C%22","%0D%0A")"},
           {{"\x1a\x1a", std::string("\0\xff", 2)}, R"("%1A%1A","%00%FF")"},
           {{"%"}, R"("%25")"},
           {{"\\"}, R"("%5C")"}}) {
    record.alpn_offer = alpn_offer(protocols);
    EXPECT_EQ(field(21, record), text);
  }
}

TEST(AccessLogLine, CutsALongOfferAt256Bytes) {
  FlowRecord record = good();
  const auto text = [&](std::vector<std::string> protocols) {
    record.alpn_offer = alpn_offer(protocols);
    return field(21, record);
  };
  EXPECT_EQ(text({std::string(254, 'a')}), '"' + std::string(254, 'a') + '"');
  EXPECT_EQ(text({std::string(255, 'a')}), '"' + std::string(255, 'a'));
  EXPECT_EQ(text({std::string(252, 'a'), "b"}), '"' + std::string(252, 'a') + R"(",")");
  EXPECT_EQ(text(std::vector<std::string>(200, "a")).size(), 256u);
  // No half of an escape is left: three bytes each, behind the quote and 0 to 2 letters.
  for (const std::string& front : {"", "a", "aa"}) {
    const std::string cut = text({front + std::string(200, '\xff')});
    EXPECT_EQ(cut.size(), 1 + front.size() + 3 * ((255 - front.size()) / 3));
    EXPECT_TRUE(cut.ends_with("%FF")) << cut;
  }
}

TEST(AccessLogLine, FitsAPipeWithTheLongestName) {
  FlowRecord record = good();
  record.alpn_offer = alpn_offer(std::vector<std::string>(200, "\x01"));
  record.server_name = std::string(255, '\x01');
  EXPECT_LT(line_of(record, AccessLogFormat::kJson).size(), std::size_t{PIPE_BUF} / 2);
}

class AccessLogFile : public testing::Test {
 protected:
  AccessLogFile() {
    char name[] = "/tmp/tlsplice-access-log-XXXXXX";
    folder_ = ::mkdtemp(name);
    path_ = folder_ + "/access.log";
  }
  ~AccessLogFile() override { std::filesystem::remove_all(folder_); }

  static AccessLog log_to(base::Fd fd) { return {std::move(fd), AccessLogFormat::kVersion2, "net/lb/0"}; }
  static void write(AccessLog& log) { log.write(good(), "web.pem", kStarted + Milliseconds(5)); }
  std::string text() const {
    std::ostringstream text;
    text << std::ifstream(path_).rdbuf();
    return text.str();
  }

  std::string folder_;
  std::string path_;
};

TEST_F(AccessLogFile, IsAppendedTo) {
  std::ofstream(path_) << "before\n";
  AccessLog log = log_to(std::move(*open_access_log(path_)));
  write(log);
  const std::string once = text();
  EXPECT_TRUE(once.starts_with("before\ntls 2.0 ")) << once;
  EXPECT_EQ(std::ranges::count(once, '\n'), 2);
  EXPECT_EQ(log.dropped(), 0u);
}

TEST_F(AccessLogFile, ThatIsMadeIsNotForEverybody) {
  ASSERT_TRUE(open_access_log(path_));
  EXPECT_EQ(std::filesystem::status(path_).permissions() & std::filesystem::perms::others_all,
            std::filesystem::perms::none);
}

TEST_F(AccessLogFile, CanBeReplaced) {
  AccessLog log = log_to(std::move(*open_access_log(folder_ + "/old")));
  log.replace(std::move(*open_access_log(path_)));
  write(log);
  EXPECT_TRUE(text().starts_with("tls "));
  EXPECT_EQ(std::filesystem::file_size(folder_ + "/old"), 0u);
}

TEST_F(AccessLogFile, ThatCannotBeOpenedIsNamed) {
  const auto opened = open_access_log(folder_ + "/none/access.log");
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().text().find("/none/access.log: No such file"), std::string::npos);
}

TEST_F(AccessLogFile, GoesOnBehindALineThatWasCutShort) {
  // A limit on the file's size cuts a write as a full disk does.
  const std::string said = tests::in_child([this]() -> std::string {
    ::signal(SIGXFSZ, SIG_IGN);
    AccessLog log = log_to(std::move(*open_access_log(path_)));
    write(log);
    const rlim_t cut = std::filesystem::file_size(path_) + 10;
    rlimit limit{.rlim_cur = cut, .rlim_max = RLIM_INFINITY};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    write(log);
    write(log);
    if (log.dropped() != 2) return "dropped " + std::to_string(log.dropped());
    limit.rlim_cur = RLIM_INFINITY;
    ::setrlimit(RLIMIT_FSIZE, &limit);
    write(log);
    write(log);
    return log.dropped() == 2 ? "" : "goes on dropping";
  });
  EXPECT_EQ(said, "");
  std::istringstream lines(text());
  std::vector<std::size_t> sizes;
  for (std::string line; std::getline(lines, line);) sizes.push_back(line.size());
  ASSERT_EQ(sizes.size(), 4u) << text();
  EXPECT_EQ(sizes, (std::vector<std::size_t>{sizes[0], 10, sizes[0], sizes[0]}));
}

TEST_F(AccessLogFile, OfAFifoDropsWhenNobodyReads) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  AccessLog log = log_to(std::move(*open_access_log(path_)));
  std::size_t written = 0;
  for (; log.dropped() == 0; ++written) {
    ASSERT_LT(written, 10'000u);
    write(log);
  }
  const base::Fd reader(::open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  std::string text(1 << 20, '\0');
  text.resize(static_cast<std::size_t>(::read(reader.get(), text.data(), text.size())));
  EXPECT_EQ(std::ranges::count(text, '\n'), static_cast<std::ptrdiff_t>(written - 1));
  EXPECT_TRUE(text.ends_with('\n'));
  write(log);
  EXPECT_EQ(log.dropped(), 1u) << "there is room again";
}

TEST_F(AccessLogFile, OfASocketDropsWhenNobodyReads) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const base::Fd reader(ends[0]);
  AccessLog log = log_to(base::Fd(ends[1]));
  for (int i = 0; log.dropped() == 0; ++i) {
    ASSERT_LT(i, 100'000);
    write(log);
  }
}

TEST_F(AccessLogFile, ThatIsNoneIsNotCounted) {
  AccessLog log;
  write(log);
  EXPECT_EQ(log.dropped(), 0u);
}

}  // namespace
}  // namespace tlsplice::observe
