// tlsplice probe: what this kernel really does, tried on the spot by the rooms that rely on it, one line
// each, and what follows from each "no". Nothing is left behind. What a worker would do is tried with a
// worker's rights; what the master would do, with the caller's: run it as the user that starts the service.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/utsname.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <new>
#include <optional>
#include <utility>

#include "facts.hpp"
#include "tlsplice/ktls/kernel.hpp"
#include "tlsplice/master/rehearse.hpp"
#include "tlsplice/netlink/devices.hpp"
#include "tlsplice/policy/config.hpp"
#include "tlsplice/relay/pools.hpp"
#include "tlsplice/steering/steering.hpp"
#include "tlsplice/tls/context.hpp"
#include "tlsplice/uring/support.hpp"
#include "verbs.hpp"

namespace tlsplice::cli {
namespace {

using Name = std::vector<std::string>;

/// Left by a child with a worker's rights, in memory shared with it.
struct AsWorker {
  uring::Support io_uring;
  std::uint64_t pipe_bytes = 0;  // of a pipe of the relay; 0: none was to be had
};

void try_as_worker(AsWorker& found) {
  found.io_uring = uring::probe();
  relay::PipePool pipes;
  if (const auto pipe = pipes.take()) {
    found.pipe_bytes = static_cast<std::uint64_t>(std::max(0, ::fcntl(pipe->write_end.get(), F_GETPIPE_SZ)));
  }
}

base::Result<AsWorker> rehearse() {
  void* shared = ::mmap(nullptr, sizeof(AsWorker), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return base::fail(base::Error::system("share memory with a child", errno));
  auto* found = new (shared) AsWorker;
  const auto done = master::rehearse("", [found] { try_as_worker(*found); });
  const AsWorker copy = *found;
  ::munmap(shared, sizeof(AsWorker));
  if (!done) return base::fail(done.error());
  return copy;
}

/// A yes or no, whose consequence is that of the no.
Fact yes_no(Name name, bool yes, std::string consequence, bool implied = false) {
  return {std::move(name), yes, yes ? "" : std::move(consequence), implied};
}

std::optional<std::uint64_t> setting(const char* name) {
  std::ifstream file(fmt::format("/proc/sys/{}", name));
  std::uint64_t value = 0;
  if (!(file >> value)) return std::nullopt;
  return value;
}

void add_setting(Facts& facts, Name name, const char* file, const std::string& consequence = "") {
  if (const auto value = setting(file)) facts.push_back({std::move(name), *value, consequence});
}

void add_io_uring(Facts& facts, const uring::Support& support) {
  const bool none = support.error != 0;
  facts.push_back(
      yes_no({"io_uring", "permitted"}, !none,
             "Nothing can be served: " + (none ? uring::refusal(support.error).text() : "") + "."));
  if (const int disabled = uring::disabled_setting(); disabled >= 0) {
    facts.push_back({{"io_uring", "disabled_setting"}, static_cast<std::uint64_t>(disabled), ""});
  }
  const char* const needed = "Nothing can be served: workers wait by it.";
  const std::pair<const char*, bool> required[] = {
      {"poll_add", support.poll_add},         {"connect", support.connect},
      {"async_cancel", support.async_cancel}, {"timeout", support.timeout},
      {"wait_timeout", support.wait_timeout}, {"skip_success", support.skip_success}};
  for (const auto& [name, yes] : required) facts.push_back(yes_no({"io_uring", name}, yes, needed, none));
  facts.push_back(yes_no({"io_uring", "splice"}, support.splice,
                         "relay = \"uring-splice\" does not work; the other modes need it not.", none));
  const char* const slower =
      "Completions interrupt the worker: more CPU for the same bytes. Linux 6.1 has it.";
  facts.push_back(yes_no({"io_uring", "single_issuer"}, support.single_issuer, slower, none));
  facts.push_back(yes_no({"io_uring", "defer_taskrun"}, support.defer_taskrun, slower, none));
}

void add_ciphers(Facts& facts, const ktls::Support& support) {
  const std::pair<ktls::Version, const char*> versions[] = {{ktls::Version::kTls12, "tls1_2"},
                                                            {ktls::Version::kTls13, "tls1_3"}};
  const std::pair<ktls::Cipher, const char*> ciphers[] = {
      {ktls::Cipher::kAes128Gcm, "aes_128_gcm"},
      {ktls::Cipher::kAes256Gcm, "aes_256_gcm"},
      {ktls::Cipher::kChacha20Poly1305, "chacha20_poly1305"}};
  for (const auto& [version, version_name] : versions) {
    for (const auto& [cipher, cipher_name] : ciphers) {
      for (const ktls::Way way : {ktls::Way::kSend, ktls::Way::kReceive}) {
        const char* way_name = way == ktls::Way::kSend ? "send" : "receive";
        facts.push_back(yes_no({"kernel_tls", version_name, cipher_name, way_name},
                               support.has(version, cipher, way),
                               "Connections with this cipher stay in user space.", !support.ulp));
      }
    }
  }
}

void add_kernel_tls(Facts& facts, const ktls::Support& support) {
  const bool none = !support.ulp;
  facts.push_back(yes_no({"kernel_tls", "ulp"}, support.ulp,
                         "Every TLS byte stays in user space: " + support.why_not + "."));
  add_ciphers(facts, support);
  const char* const rekey =
      "A peer's TLS 1.3 KeyUpdate ends its flow with an alert. Linux 6.14 and later re-key.";
  facts.push_back(yes_no({"kernel_tls", "rekey", "send"}, support.rekeys[0], rekey, none));
  facts.push_back(yes_no({"kernel_tls", "rekey", "receive"}, support.rekeys[1], rekey, none));
  facts.push_back(yes_no({"kernel_tls", "splice", "data"}, support.splices,
                         "relay = \"splice\" reads kernel TLS connections, as \"auto\" does.", none));
  facts.push_back(yes_no({"kernel_tls", "splice", "keeps_other_records"}, support.keeps_records,
                         "relay = \"splice\" reads kernel TLS connections, as \"auto\" does.", none));
  facts.push_back(
      yes_no({"kernel_tls", "takes_no_padding"}, support.takes_no_padding,
             "TLS 1.3 data is decrypted into a buffer of the kernel and copied. Linux 6.0 need not.", none));
  facts.push_back(yes_no(
      {"kernel_tls", "poll_waits_for_whole_records"}, support.ulp && !support.wakes_early,
      "Half a record wakes the worker; it pauses 5 ms between such wake-ups. Linux 6.5 and later do not.",
      none));
}

/// The master's own maps and program, loaded as it loads them, and gone again.
void add_bpf(Facts& facts) {
  const auto maps = steering::Maps::create({});
  const auto program = maps ? steering::Steering::load({.listeners = 1, .workers = 1}, *maps)
                            : base::Result<steering::Steering>(base::fail(maps.error()));
  const auto because = [](const char* consequence, const auto& result) {
    return result ? std::string() : fmt::format("{}: {}.", consequence, result.error().text());
  };
  facts.push_back(yes_no({"bpf", "maps"}, maps.has_value(),
                         because("Numbers lie in memory that bpftool cannot print", maps)));
  facts.push_back(yes_no({"bpf", "map_iterators"}, maps && maps->has_tables(),
                         "Of the numbers there are no tables for cat; bpftool prints them. It takes BTF.",
                         !maps));
  facts.push_back(
      yes_no({"bpf", "sk_reuseport_migrate"}, program.has_value(),
             because("The kernel spreads connections over workers by their hash, and resets what a "
                     "worker has not accepted when its socket is closed",
                     program),
             !maps));
  const auto bpffs = steering::expect_bpffs(policy::kDefaultBpfDirectory);
  facts.push_back(yes_no({"bpf", "bpffs"}, bpffs.has_value(), because("Maps cannot be pinned", bpffs)));
  const bool matters = !program && setting("net/ipv4/tcp_migrate_req") == 0U;
  add_setting(facts, {"bpf", "tcp_migrate_req"}, "net/ipv4/tcp_migrate_req",
              matters ? "sysctl net.ipv4.tcp_migrate_req=1 keeps those connections without a program." : "");
}

void add_pipes(Facts& facts, std::uint64_t granted_bytes) {
  constexpr std::uint64_t kWanted = 256 * 1024;  // what relay::PipePool asks for
  const bool full = granted_bytes >= kWanted;
  facts.push_back({{"pipes", "granted_bytes"},
                   granted_bytes,
                   full
                       ? ""
                       : fmt::format("A worker's pipe should hold {} bytes: splicing takes more steps. Raise "
                                     "fs.pipe-user-pages-soft and fs.pipe-max-size.",
                                     kWanted)});
  add_setting(facts, {"pipes", "max_bytes"}, "fs/pipe-max-size");
  add_setting(facts, {"pipes", "user_pages_soft"}, "fs/pipe-user-pages-soft");
}

void add_devices(Facts& facts) {
  const auto devices = netlink::devices_up();
  facts.push_back(
      yes_no({"network_devices", "told"}, devices.has_value(),
             devices ? "" : "Offload to a network card is not known: " + devices.error().text() + "."));
  if (!devices) return;
  for (const netlink::Device& device : *devices) {
    const auto add = [&facts, &device](const char* name, netlink::Feature feature) {
      const std::string option = fmt::format("tls-hw-{}", name);
      facts.push_back({{"network_devices", "up", device.name, option},
                       netlink::to_string(feature),
                       feature == netlink::Feature::kOff
                           ? fmt::format("The CPU encrypts; ethtool -K {} {} on hands it to the card.",
                                         device.name, option)
                           : ""});
    };
    add("tx-offload", device.tls_send);
    add("rx-offload", device.tls_receive);
    add("record", device.tls_record);
  }
}

}  // namespace

int probe(bool json) {
  utsname system{};
  ::uname(&system);
  const auto as_worker = rehearse();
  if (!as_worker) {
    fmt::print(stderr, "tlsplice probe: {}\n", as_worker.error().text());
    return kExitFailed;
  }
  Facts facts{{{"kernel"}, system.release, ""}, {{"openssl"}, tls::library_version(), ""}};
  add_io_uring(facts, as_worker->io_uring);
  add_kernel_tls(facts, ktls::probe());
  add_bpf(facts);
  add_pipes(facts, as_worker->pipe_bytes);
  add_devices(facts);
  const std::string text = json ? as_json(facts) : as_lines(facts);
  const bool written = std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0;
  if (!written) std::perror("tlsplice probe: stdout");
  return written && as_worker->io_uring.sufficient() ? kExitDone : kExitFailed;
}

}  // namespace tlsplice::cli
