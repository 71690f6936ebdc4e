// tlsplice probe: what this kernel really does, tried on the spot, one line each, and what follows from each
// "no". The same facts decide at run time (ktls::Support). Nothing is left behind; root is not needed.
#include <fmt/format.h>
#include <sys/utsname.h>

#include <string>
#include <vector>

#include "tlsplice/ktls/kernel.hpp"
#include "tlsplice/tls/context.hpp"
#include "tlsplice/uring/ring.hpp"
#include "verbs.hpp"

namespace tlsplice::cli {
namespace {

struct Fact {
  std::string name;
  bool yes;
  std::string consequence;  // of a no, for people
};

Fact io_uring() {
  const auto ring = uring::Ring::create(8);
  return {
      "io_uring", ring.has_value(),
      ring ? "" : ring.error().text() + ". Nothing can be served; allow io_uring_setup and io_uring_enter."};
}

std::vector<Fact> kernel_tls() {
  const ktls::Support support = ktls::probe();
  std::vector<Fact> facts{{"tls_ulp", support.ulp, "Every TLS byte stays in user space: " + support.why_not}};
  for (const auto version : {ktls::Version::kTls12, ktls::Version::kTls13}) {
    for (const auto cipher :
         {ktls::Cipher::kAes128Gcm, ktls::Cipher::kAes256Gcm, ktls::Cipher::kChacha20Poly1305}) {
      const char* name = version == ktls::Version::kTls12 ? "TLSv1.2" : "TLSv1.3";
      facts.push_back({fmt::format("{} {}", name, ktls::to_string(cipher)), support.has(version, cipher),
                       "Connections with this cipher stay in user space."});
    }
  }
  facts.push_back({"tls_rekey", support.rekey,
                   "A peer's TLS 1.3 KeyUpdate ends its flow with an alert; Linux 6.14 and later re-key."});
  facts.push_back(
      {"poll_waits_for_whole_records", support.ulp && !support.wakes_early,
       "Half a record wakes the worker; it pauses 5 ms between such wake-ups. Linux 6.5 and later do not."});
  return facts;
}

std::string in_json(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return '"' + out + '"';
}

}  // namespace

int probe(bool json) {
  utsname system{};
  ::uname(&system);
  std::vector<Fact> facts{io_uring()};
  for (Fact& fact : kernel_tls()) facts.push_back(std::move(fact));
  if (!json) {
    fmt::print("kernel {}, {}\n", system.release, tls::library_version());
    for (const Fact& fact : facts) {
      fmt::print("{:<30} {}{}\n", fact.name, fact.yes ? "yes" : "no   ", fact.yes ? "" : fact.consequence);
    }
    return kExitDone;
  }
  fmt::print("{{\"kernel\": {}, \"openssl\": {}", in_json(system.release), in_json(tls::library_version()));
  for (const Fact& fact : facts) fmt::print(", {}: {}", in_json(fact.name), fact.yes);
  fmt::print("}}\n");
  return kExitDone;
}

}  // namespace tlsplice::cli
