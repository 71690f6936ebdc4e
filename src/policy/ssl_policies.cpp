// The security policies out of the data that the program carries. That data is ours and was tested, so a
// fault in it is a bug and aborts; nothing here is an outcome that a caller must handle.
#include "tlsplice/policy/ssl_policies.hpp"

#include <algorithm>
#include <array>
#include <cctype>

#include "tlsplice/base/expect.hpp"
#include "tlsplice/policy/words.hpp"
#include "toml.hpp"

namespace tlsplice::policy {
namespace {

#include "ssl_policies.inc"  // kSslPoliciesToml

constexpr std::string_view kPrefix = "ELBSecurityPolicy-";
constexpr std::array kVersions{TlsVersion::kTls10, TlsVersion::kTls11, TlsVersion::kTls12,
                               TlsVersion::kTls13};

std::vector<SslPolicy> read_policies();
SslPolicy read_policy(const toml::table& table);
std::vector<std::string> read_words(const toml::table& table, std::string_view key);
TlsVersion version_of(std::string_view word);
std::string_view without_prefix(std::string_view name);

}  // namespace

std::span<const SslPolicy> ssl_policies() {
  static const std::vector<SslPolicy> policies = read_policies();
  return policies;
}

const SslPolicy* find_ssl_policy(std::string_view name) {
  const auto found = std::ranges::find(ssl_policies(), name, &SslPolicy::name);
  return found == ssl_policies().end() ? nullptr : &*found;
}

// The names share a prefix of eighteen letters, which would make any two of them look alike, and which is the
// part people leave out: so it does not count.
std::string_view nearest_ssl_policy(std::string_view name) {
  std::vector<std::string_view> names;
  for (const SslPolicy& policy : ssl_policies()) names.push_back(without_prefix(policy.name));
  const std::string_view near = nearest(without_prefix(name), names);
  if (near.empty()) return {};
  return ssl_policies()[static_cast<std::size_t>(std::ranges::find(names, near) - names.begin())].name;
}

const char* to_string(TlsVersion version) {
  switch (version) {
    case TlsVersion::kTls10:
      return "TLSv1";
    case TlsVersion::kTls11:
      return "TLSv1.1";
    case TlsVersion::kTls12:
      return "TLSv1.2";
    case TlsVersion::kTls13:
      return "TLSv1.3";
  }
  TLSPLICE_EXPECT(false, "a TLS version has one of four values");
}

namespace {

std::vector<SslPolicy> read_policies() {
  const auto document = parse_toml(kSslPoliciesToml);
  TLSPLICE_EXPECT(document.has_value(), "the security policies are valid TOML");
  const toml::array* const list = document->get_as<toml::array>("policy");
  TLSPLICE_EXPECT(list != nullptr && !list->empty(), "there are security policies");
  std::vector<SslPolicy> policies;
  for (const toml::node& element : *list) {
    TLSPLICE_EXPECT(element.is_table(), "a security policy is a table");
    SslPolicy policy = read_policy(*element.as_table());
    TLSPLICE_EXPECT(std::ranges::find(policies, policy.name, &SslPolicy::name) == policies.end(),
                    "security policies have different names");
    policies.push_back(std::move(policy));
  }
  return policies;
}

SslPolicy read_policy(const toml::table& table) {
  SslPolicy policy;
  policy.name = table["name"].value_or(std::string());
  TLSPLICE_EXPECT(policy.name.starts_with(kPrefix), "a security policy is named like the load balancer's");
  for (const std::string& word : read_words(table, "protocols")) policy.protocols.push_back(version_of(word));
  TLSPLICE_EXPECT(std::ranges::search(kVersions, policy.protocols).begin() != kVersions.end(),
                  "protocols go from low to high without gaps");
  policy.ciphers = read_words(table, "ciphers");
  policy.groups = read_words(table, "groups");
  return policy;
}

std::vector<std::string> read_words(const toml::table& table, std::string_view key) {
  const toml::array* const list = table.get_as<toml::array>(key);
  TLSPLICE_EXPECT(list != nullptr && !list->empty(), "a security policy has protocols, ciphers and groups");
  std::vector<std::string> words;
  for (const toml::node& element : *list) {
    const auto word = element.value<std::string>();
    TLSPLICE_EXPECT(word && std::ranges::find(words, *word) == words.end(), "each is named once");
    words.push_back(*word);
  }
  return words;
}

TlsVersion version_of(std::string_view word) {
  const auto found =
      std::ranges::find_if(kVersions, [&](TlsVersion version) { return to_string(version) == word; });
  TLSPLICE_EXPECT(found != kVersions.end(), "a protocol is one of four TLS versions");
  return *found;
}

std::string_view without_prefix(std::string_view name) {
  const auto same = [](char a, char b) {
    return std::tolower(static_cast<unsigned char>(a)) == std::tolower(b);
  };
  const bool has_it = std::ranges::equal(name.substr(0, kPrefix.size()), kPrefix, same);
  return has_it ? name.substr(kPrefix.size()) : name;
}

}  // namespace
}  // namespace tlsplice::policy
