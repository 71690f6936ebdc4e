// tlsplice-load: traffic for tests and measurements, both ends of it. The command line; CLI11 stays in this
// file.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <functional>

#include "verbs.hpp"

namespace tlsplice::load {
namespace {

int dispatch(int argc, char** argv);

}  // namespace
}  // namespace tlsplice::load

int main(int argc, char** argv) {
  try {
    return tlsplice::load::dispatch(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "tlsplice-load: %s\n", error.what());
    return tlsplice::load::kExitFailed;
  }
}

namespace tlsplice::load {
namespace {

using Chosen = std::function<int()>;

/// What all subcommands write into; it outlives the parsing.
struct Options {
  ServeOptions serve;
  ForwardOptions forward;
  ClientOptions client;
  StreamOptions stream;
  MessagesOptions messages;
  HandshakesOptions handshakes;
  IdleOptions idle;
  SoakOptions soak;
};

void add_size(CLI::App& command, const std::string& name, std::uint64_t& size, const std::string& help) {
  command.add_option(name, size, help)
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->type_name("SIZE");
}

template <typename Number>
void add_number(CLI::App& command, const std::string& name, Number& number, const std::string& help) {
  command.add_option(name, number, help)->check(CLI::PositiveNumber)->capture_default_str()->type_name("N");
}

void add_tls_options(CLI::App& command, TlsOptions& tls) {
  command.add_option("--tls-version", tls.version, "Only this version: 1.2 or 1.3")
      ->check(CLI::IsMember({"1.2", "1.3"}).description(""))
      ->type_name("VERSION");
  command.add_option("--ciphers", tls.ciphers, "OpenSSL's names of suites of either version, with colons")
      ->type_name("NAMES");
  command.add_flag("--take-truncation", tls.take_truncation,
                   "Take a FIN without close_notify for a clean end");
  command.add_option("--groups", tls.groups, "OpenSSL's names of groups, with colons")->type_name("NAMES");
}

void setup_serve(CLI::App& app, Options& options, Chosen& chosen) {
  CLI::App& command = *app.add_subcommand("serve", "Be the target: echo, sink, source, as each client asks");
  command.add_option("--listen", options.serve.listen, "Where; port 0: any")
      ->required()
      ->type_name("ADDR:PORT");
  command.add_option("--tls", options.serve.certificate, "Chain and key in PEM; without it: plain TCP")
      ->expected(2)
      ->type_name("CHAIN KEY");
  add_tls_options(command, options.serve.tls);
  add_number(command, "--stall", options.serve.stall_seconds, "Seconds a flow may move nothing");
  command.footer(
      "Prints where it listens, serves until SIGTERM or SIGINT, then prints its results as one line of "
      "JSON.\n"
      "Exit status 1 if a wrong byte came or a flow did not end as its client had planned.");
  command.callback([&] { chosen = [&] { return serve(options.serve); }; });
}

void setup_forward(CLI::App& app, Options& options, Chosen& chosen) {
  CLI::App& command = *app.add_subcommand("forward", "Forward plain TCP and do nothing else: a floor");
  command.add_option("--listen", options.forward.listen, "Where; port 0: any")
      ->required()
      ->type_name("ADDR:PORT");
  command.add_option("--to", options.forward.to, "The target")->required()->type_name("ADDR:PORT");
  command.footer("Prints where it listens and forwards until a signal ends it.");
  command.callback([&] { chosen = [&] { return forward(options.forward); }; });
}

using Case = int (*)(const Options&);

CLI::App& add_case(CLI::App& client, const char* name, const char* help, Chosen& chosen,
                   const Options& options, Case action) {
  CLI::App& command = *client.add_subcommand(name, help);
  command.fallthrough();
  command.callback([&chosen, &options, action] { chosen = [&options, action] { return action(options); }; });
  return command;
}

void setup_cases(CLI::App& client, Options& options, Chosen& chosen) {
  CLI::App& down = add_case(client, "bulk-down", "Download", chosen, options,
                            [](const Options& o) { return bulk_down(o.client, o.stream); });
  CLI::App& up = add_case(client, "bulk-up", "Upload; the server says what it received", chosen, options,
                          [](const Options& o) { return bulk_up(o.client, o.stream); });
  for (CLI::App* const bulk : {&down, &up}) {
    add_size(*bulk, "--bytes", options.stream.bytes, "Over all connections");
    add_number(*bulk, "--connections", options.stream.connections, "At the same time");
  }

  CLI::App& messages_case =
      add_case(client, "messages", "Requests and answers, one at a time a connection", chosen, options,
               [](const Options& o) { return messages(o.client, o.messages); });
  add_size(messages_case, "--size", options.messages.size, "Bytes each way");
  add_number(messages_case, "--connections", options.messages.connections, "At the same time");
  add_number(messages_case, "--count", options.messages.count, "Exchanges over all connections");
  add_number(messages_case, "--seconds", options.messages.seconds, "For that long, instead of a count");
  add_number(messages_case, "--rate", options.messages.rate, "Requests a second, at most");

  CLI::App& handshakes_case =
      add_case(client, "handshakes", "Connections: full handshake, one byte each way, end", chosen, options,
               [](const Options& o) { return handshakes(o.client, o.handshakes); });
  add_number(handshakes_case, "--count", options.handshakes.count, "Connections");
  add_number(handshakes_case, "--concurrency", options.handshakes.concurrency, "At the same time");
  add_number(handshakes_case, "--rate", options.handshakes.rate, "Begun a second, at most");
  add_number(handshakes_case, "--burst", options.handshakes.burst, "Of --rate, begun at the same time");

  CLI::App& idle_case = add_case(client, "idle", "Flows that rest after one exchange", chosen, options,
                                 [](const Options& o) { return idle(o.client, o.idle); });
  add_number(idle_case, "--flows", options.idle.flows, "Flows");
  add_number(idle_case, "--concurrency", options.idle.concurrency, "Opening at the same time");
  add_size(idle_case, "--size", options.idle.size, "Bytes of the exchange, each way");
  add_number(idle_case, "--hold", options.idle.hold_seconds, "Seconds of rest");
  idle_case.footer(
      "Prints \"up N\" when all flows are. Without --hold they rest until a line or the end comes on stdin, "
      "or\n"
      "SIGTERM. Then they end cleanly.");

  CLI::App& soak_case =
      add_case(client, "soak", "Every size, every end: half-closes and resets of either side", chosen,
               options, [](const Options& o) { return soak(o.client, o.soak); });
  add_number(soak_case, "--flows", options.soak.flows, "Flows");
  add_number(soak_case, "--concurrency", options.soak.concurrency, "At the same time");
  soak_case
      .add_option("--pause-ms", options.soak.pause_ms_max, "The longest pause, sending or reading; 0: none")
      ->capture_default_str()
      ->type_name("MS");
}

void setup_client(CLI::App& app, Options& options, Chosen& chosen) {
  CLI::App& client = *app.add_subcommand("client", "Be the client: one case, every byte checked");
  client.require_subcommand(1);
  ClientOptions& to = options.client;
  client.add_option("--connect", to.connect, "Listener or server")->required()->type_name("ADDR:PORT");
  CLI::Option* const tls = client.add_flag("--tls", to.tls, "With TLS; the certificate is not looked at");
  client.add_flag("--plain", to.plain, "Plain TCP, which is the default")->excludes(tls);
  add_tls_options(client, to.tls_options);
  add_number(client, "--stall", to.stall_seconds, "Seconds a flow may move nothing");
  client.add_option("--seed", to.seed, "The same seed, the same flows")
      ->capture_default_str()
      ->type_name("N");
  setup_cases(client, options, chosen);
  client.footer(
      "Prints its results as one line of JSON; times are in microseconds. Exit status 1 if any flow did not\n"
      "go as planned.");
}

int dispatch(int argc, char** argv) {
  CLI::App app("Traffic for tests and measurements: both ends, every byte checked", "tlsplice-load");
  app.require_subcommand(1);
  app.footer("\"tlsplice-load serve --help\", \"tlsplice-load client CASE --help\" say more.");
  Options options;
  Chosen chosen;
  setup_serve(app, options, chosen);
  setup_forward(app, options, chosen);
  setup_client(app, options, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) return app.exit(error);
    fmt::print(stderr, "tlsplice-load: {}\nTry \"tlsplice-load --help\".\n", error.what());
    return kExitUsage;
  }
  return chosen();
}

}  // namespace
}  // namespace tlsplice::load
