"""What flows cost each other: messages beside 10,000 flows that rest, against the same beside 100; and how
long messages of 1 KiB take while 500 connections a second begin and end beside them. Each proxy in turn, the
median of the rounds; the floor is a plain forwarder without TLS, of one round.

For the latter neither processor may be short, or one measures the queue for it: 2,000 messages a second, and
who opens the connections computes only while messages and targets leave the processor alone. The p99 is the
median of those of single seconds, so that one moment at which the machine was elsewhere does not decide."""

import contextlib
import functools
import json
import statistics
import time

import pairs
import proxies
import traffic

FEW, MANY = 100, 10_000
MESSAGES = 100_000  # a round, each of 64 bytes
MESSAGES_IN_GUEST = 10_000
RATE = 500
RATE_IN_GUEST = 23  # neither divides the other, or they would never meet, or always
MESSAGE_RATE_IN_GUEST = 97
BURST = 50  # clients that come back together, after an interruption
MESSAGE_RATE = 2000
SECONDS = 5
SECONDS_AT_ONCE = 1
MESSAGES_CONNECTIONS = 32
SETTLE_SECONDS = 0.5


@contextlib.contextmanager
def _service(bench, scheduled=None):
    """The proxies, serving under P-256, and a plain forwarder without TLS: the floor."""
    chain, key = bench.certificates["p256"]
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(traffic.Target(bench.repository, bench.load_cpu, scheduled=scheduled))
        running = []
        for kind in proxies.and_the_floor(bench.proxies):
            service = proxies.Service(target.address, kind.tls, chain=chain, key=key, rsa=False)
            running.append(stack.enter_context(kind(service, bench.repository, bench.proxy_cpu)))
        yield running


def _messages(bench, proxy, size, how, scheduled=None):
    case = ["messages", "--size", size, "--connections", MESSAGES_CONNECTIONS, *how]
    return traffic.client(bench, proxy, case, scheduled)


def _rounds_of(proxy, rounds):
    return 1 if isinstance(proxy, proxies.Forward) else rounds


def idle(bench, rounds, guest):
    """{name: {"few": CPU s per 100,000, "many": the same, "ratio": ...}} beside flows that rest."""
    count = MESSAGES_IN_GUEST if guest else MESSAGES
    many = min(MANY, proxies.FLOWS_MAX - MESSAGES_CONNECTIONS)
    if many < MANY:
        bench.say(f"beside-idle: {many} flows: more do not fit into {proxies.DESCRIPTORS} descriptors")
    result = {}
    with _service(bench) as running:
        for proxy in running:
            costs = {}
            for word, flows in (("few", FEW), ("many", many)):
                bench.say(f"beside-idle: {proxy.name} beside {flows} flows")
                with traffic.resting(bench, proxy, flows, SETTLE_SECONDS):
                    _messages(bench, proxy, 64, ["--count", max(1, count // 20)])  # warm
                    samples = []
                    for _ in range(_rounds_of(proxy, rounds)):
                        before = proxy.cpu_seconds()
                        _messages(bench, proxy, 64, ["--count", count])
                        samples.append((proxy.cpu_seconds() - before) * MESSAGES / count)
                    costs[word] = statistics.median(samples)
            result[proxy.name] = {"flows": many, **costs, "ratio": costs["many"] / costs["few"]}
    return result


def idle_table(result):
    yield f"beside-idle: 64 bytes there and back, CPU s per 100,000, beside {FEW} and more flows that rest"
    for name, row in result.items():
        yield (f"  {name:<20}{row['few']:9.3f}{row['many']:9.3f}  beside {row['flows']}: "
               f"{row['ratio']:.3f} of itself")


def handshakes(burst, bench, rounds, guest):
    """{name: {"p99_us": median, "p50_us": ..., "per_second": ..., "handshakes_per_second": ...}}, when that
    many connections begin at the same time."""
    rows = {}
    with _service(bench, traffic.goes_first) as running:
        for number in range(rounds):
            for proxy in running:
                if number >= _rounds_of(proxy, rounds):
                    continue
                bench.say(f"messages beside new connections, {burst} at once: "
                          f"round {number + 1} of {rounds}, {proxy.name}")
                rows.setdefault(proxy.name, []).extend(_seconds(bench, proxy, burst, guest))
    result = {name: {field: statistics.median(row[field] for row in samples) for field in samples[0]}
              for name, samples in rows.items()}
    ours, *others = bench.proxies
    if one := pairs.cheapest(rows, "p99_us", others):
        result[ours]["p99_ratio_to_better_peer"] = pairs.ratio(rows, "p99_us", ours, one)
    return result


def _seconds(bench, proxy, burst, guest):
    """One round: a row for each second of messages, or for all of them in a guest."""
    rate = RATE_IN_GUEST if guest else RATE
    message_rate = MESSAGE_RATE_IN_GUEST if guest else MESSAGE_RATE
    at_once = SECONDS if guest else SECONDS_AT_ONCE
    new = ["handshakes", "--rate", rate, "--burst", burst, "--concurrency", 256]
    beside = traffic.start_client(bench, proxy, [*new, "--count", rate * (SECONDS + 3)], traffic.yields)
    time.sleep(SETTLE_SECONDS)
    how = ["--rate", message_rate, "--seconds", at_once]
    seconds = [_messages(bench, proxy, 1024, how, traffic.goes_first) for _ in range(SECONDS // at_once)]
    ended_early = beside.poll() is not None
    output, errors = beside.communicate()
    if beside.returncode or ended_early:
        raise RuntimeError(f"the connections failed, or ended before the messages, through {proxy.name}: "
                           f"{errors}{output}")
    opened = rate * (SECONDS + 3) / json.loads(output.splitlines()[-1])["seconds"]
    return [{"p50_us": done["latency_us"]["p50"], "p99_us": done["latency_us"]["p99"],
             "per_second": done["latency_us"]["count"] / at_once, "handshakes_per_second": opened}
            for done in seconds]


def handshakes_table(name, burst, result):
    yield f"{name}: 1 KiB there and back beside new connections (P-256), {burst} at once"
    for name, row in result.items():
        yield (f"  {name:<20}p50 {row['p50_us']:7.0f} us  p99 {row['p99_us']:7.0f} us"
               f"{row['per_second']:8.0f} /s beside {row['handshakes_per_second']:.0f} connections/s")
    for name, row in result.items():
        if (ratio := row.get("p99_ratio_to_better_peer")) is not None:
            yield f"  p99 of {name} to the better of the others, pair by pair: {ratio:.2f}"


def _beside_new(name, burst, what):
    return what, functools.partial(handshakes, burst), functools.partial(handshakes_table, name, burst)


ALL = {"beside-idle": ("the cost of messages beside 10,000 flows that rest, against 100", idle, idle_table),
       "beside-handshakes": _beside_new("beside-handshakes", 1,
                                        "latency of 1 KiB messages beside 500 new connections a second, "
                                        "in a guest a twentieth of both"),
       "beside-bursts": _beside_new("beside-bursts", BURST, "the same, when they begin fifty at a time")}
