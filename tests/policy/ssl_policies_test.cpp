// Promised: the seven policies are those of the document, cell by cell, ciphers in the order of its rows; the
// later ones are sound as data; a mistyped name finds its way. The document's table stands beside this file,
// word for word.
#include "tlsplice/policy/ssl_policies.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>

#include "tlsplice/policy/config.hpp"

namespace tlsplice::policy {
namespace {

// What one column of the table says, rows from top to bottom.
struct Column {
  std::vector<std::string> protocols;
  std::vector<std::string> ciphers;
};
struct Document {
  std::vector<std::string> names;         // the list above the table
  std::map<std::string, Column> columns;  // by the words of the head of the column
};

Document read_document();
std::vector<std::string> cells_of(std::string line);
std::vector<std::string> protocol_names(const SslPolicy& policy);

// The document abbreviates the names in its table; the list above the table has them in full, in the same
// order but for 2015-05, which has no column because it is identical to 2016-08.
const std::map<std::string, std::string> kColumnOf{
    {"ELBSecurityPolicy-2016-08", "2016-08"},
    {"ELBSecurityPolicy-FS-2018-06", "FS-2018-06"},
    {"ELBSecurityPolicy-TLS-1-2-2017-01", "TLS-1-2"},
    {"ELBSecurityPolicy-TLS-1-2-Ext-2018-06", "TLS-1-2-Ext"},
    {"ELBSecurityPolicy-TLS-1-1-2017-01", "TLS-1-1"},
    {"ELBSecurityPolicy-2015-05", "2016-08"},
    {"ELBSecurityPolicy-TLS-1-0-2015-04", "TLS-1-0"},
};

TEST(SslPolicies, TheDocumentIsReadWhole) {
  const Document document = read_document();
  EXPECT_EQ(document.names.size(), 7u);
  EXPECT_EQ(document.columns.size(), 6u);
  EXPECT_EQ(document.columns.at("TLS-1-0").ciphers.size(), 19u);
  EXPECT_EQ(document.columns.at("TLS-1-0").ciphers.back(), "DES-CBC3-SHA");
  EXPECT_EQ(document.columns.at("FS-2018-06").ciphers.size(), 12u);
}

TEST(SslPolicies, TheSevenComeFirstInTheOrderOfTheDocument) {
  const Document document = read_document();
  ASSERT_GE(ssl_policies().size(), document.names.size());
  for (std::size_t i = 0; i < document.names.size(); ++i)
    EXPECT_EQ(ssl_policies()[i].name, document.names[i]);
}

TEST(SslPolicies, EachCellOfTheTableHolds) {
  const Document document = read_document();
  for (const std::string& name : document.names) {
    SCOPED_TRACE(name);
    const SslPolicy* const policy = find_ssl_policy(name);
    ASSERT_NE(policy, nullptr);
    const Column& column = document.columns.at(kColumnOf.at(name));
    EXPECT_EQ(protocol_names(*policy), column.protocols);
    EXPECT_EQ(policy->ciphers, column.ciphers);
  }
}

TEST(SslPolicies, TwoOfThemAreIdenticalButForTheName) {
  const SslPolicy* const recent = find_ssl_policy("ELBSecurityPolicy-2016-08");
  const SslPolicy* const old = find_ssl_policy("ELBSecurityPolicy-2015-05");
  ASSERT_TRUE(recent != nullptr && old != nullptr);
  EXPECT_EQ(recent->protocols, old->protocols);
  EXPECT_EQ(recent->ciphers, old->ciphers);
  EXPECT_EQ(recent->groups, old->groups);
}

TEST(SslPolicies, AllFortyNineAreSound) {
  EXPECT_EQ(ssl_policies().size(), 49u);
  std::set<std::string> names;
  for (const SslPolicy& policy : ssl_policies()) {
    SCOPED_TRACE(policy.name);
    EXPECT_TRUE(names.insert(policy.name).second);
    EXPECT_FALSE(policy.groups.empty());
    const bool tls13 = policy.protocols.back() == TlsVersion::kTls13;
    const auto is_tls13_suite = [](const std::string& cipher) { return cipher.starts_with("TLS_"); };
    EXPECT_EQ(tls13, std::ranges::any_of(policy.ciphers, is_tls13_suite));
    EXPECT_TRUE(std::ranges::is_partitioned(policy.ciphers, is_tls13_suite));
    EXPECT_EQ(policy.name.find("-PQ-") != std::string::npos,
              policy.groups.front().find("MLKEM") != std::string::npos);
  }
}

TEST(SslPolicies, TheDefaultIsOneOfThem) {
  EXPECT_NE(find_ssl_policy(kDefaultSslPolicy), nullptr);
}

TEST(SslPolicies, NamesAreExact) {
  EXPECT_EQ(find_ssl_policy("elbsecuritypolicy-2016-08"), nullptr);
  EXPECT_EQ(find_ssl_policy("2016-08"), nullptr);
  EXPECT_EQ(find_ssl_policy(""), nullptr);
}

TEST(SslPolicies, AMistypedNameFindsTheNearest) {
  EXPECT_EQ(nearest_ssl_policy("ELBSecurityPolicy-2016-8"), "ELBSecurityPolicy-2016-08");
  EXPECT_EQ(nearest_ssl_policy("elbsecuritypolicy-fs-2018-06"), "ELBSecurityPolicy-FS-2018-06");
  EXPECT_EQ(nearest_ssl_policy("TLS-1-2-2017-01"), "ELBSecurityPolicy-TLS-1-2-2017-01");
  EXPECT_EQ(nearest_ssl_policy("ELBSecurityPolicy-TLS13-1-2-2021-60"), "ELBSecurityPolicy-TLS13-1-2-2021-06");
  EXPECT_EQ(nearest_ssl_policy("modern"), "");
  EXPECT_EQ(nearest_ssl_policy(""), "");
  EXPECT_EQ(nearest_ssl_policy("ELBSecurityPolicy-"), "");
  EXPECT_EQ(nearest_ssl_policy(std::string(100'000, '-')), "");
}

Document read_document() {
  std::ifstream file(TLSPLICE_SOURCE_DIR "/tests/policy/document_table.md");
  Document document;
  std::vector<std::string> heads;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("+ `")) document.names.push_back(line.substr(3, line.rfind('`') - 3));
    if (!line.starts_with("| ") || line.starts_with("| ---")) continue;
    const std::vector<std::string> cells = cells_of(line);
    if (heads.empty()) {
      heads = cells;
      continue;
    }
    for (std::size_t i = 1; i < cells.size(); ++i) {
      if (cells[i].empty()) continue;
      EXPECT_EQ(cells[i], "♦") << line;
      Column& column = document.columns[heads[i]];
      const bool protocol = cells[0].starts_with("Protocol-");
      if (protocol) column.protocols.push_back(cells[0].substr(cells[0].find('-') + 1));
      if (!protocol) column.ciphers.push_back(cells[0]);
    }
  }
  return document;
}

// "| a\-b | ♦ | c † | " is {"a-b", "♦", "c"}.
std::vector<std::string> cells_of(std::string line) {
  std::erase(line, '\\');
  std::vector<std::string> cells;
  std::size_t begin = 1;
  for (std::size_t end = line.find('|', begin); end != line.npos; end = line.find('|', begin)) {
    std::string cell = line.substr(begin, end - begin);
    for (const char* const mark : {" *", " †"}) {
      if (const std::size_t at = cell.find(mark); at != cell.npos) cell.erase(at);
    }
    cell.erase(0, std::min(cell.find_first_not_of(' '), cell.size()));
    cell.erase(cell.find_last_not_of(' ') + 1);
    cells.push_back(cell);
    begin = end + 1;
  }
  return cells;
}

std::vector<std::string> protocol_names(const SslPolicy& policy) {
  std::vector<std::string> names;
  for (const TlsVersion version : policy.protocols) names.emplace_back(to_string(version));
  return names;
}

}  // namespace
}  // namespace tlsplice::policy
