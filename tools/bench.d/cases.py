"""What processor time a proxy needs: cases of tlsplice-load through each proxy in turn (A B C A B C ...), the
median of the rounds, and beside it what no proxy can save: a plain forwarder's time for the same work without
TLS, and OpenSSL's own benchmark of the cipher or of the key's signatures."""

import contextlib
import dataclasses
import re
import statistics
import time

import pairs
import proxies
import traffic

GIB = 1 << 30
ENDING_SECONDS = 0.3  # what a proxy has still to do when the client is done


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    what: str
    unit: str  # of processor seconds
    arguments: tuple  # of the client, without connections and how many
    connections: int  # 0: they are what is measured
    count_option: str
    count: int
    count_in_guest: int
    per: int  # how many make the unit
    key: str = "rsa"
    tls: bool = True
    target_tls: bool = False
    ciphered: int = 0  # bytes of a unit that AES-GCM seals or opens
    record: int = 16384  # bytes of each


def _bulk(name, what, direction, passes=1, **more):
    return Case(name, what, "GiB", (direction,), 4, "--bytes", GIB, 32 << 20, GIB,
                ciphered=passes * GIB, **more)


def _messages(size):
    return Case(f"messages-{size}", f"requests and answers of {size} bytes on 32 connections", "100,000",
                ("messages", "--size", size), 32, "--count", 100_000, 10_000, 100_000,
                ciphered=2 * size * 100_000, record=size)


def _handshakes(name, key, what):
    return Case(f"handshakes-{name}", f"new connections, {what}, one byte each way", "1,000",
                ("handshakes", "--concurrency", 16), 0, "--count", 2000, 60, 1000, key=key)


ALL = {case.name: case for case in (
    _bulk("down", "download, TLS to plain targets", "bulk-down"),
    _bulk("up", "upload, TLS to plain targets", "bulk-up"),
    _bulk("tls-tls", "download, re-encrypted", "bulk-down", target_tls=True, passes=2),
    _bulk("tcp", "download, no TLS at all", "bulk-down", tls=False, passes=0),
    _messages(64), _messages(1024), _messages(16384),
    _handshakes("rsa", "rsa", "RSA 2048"), _handshakes("p256", "p256", "P-256"))}
GROUPS = {"messages": [name for name in ALL if name.startswith("messages-")],
          "handshakes": [name for name in ALL if name.startswith("handshakes-")],
          "counters": ["messages-64", "handshakes-p256"]}


def run(bench, case, rounds, guest):
    """{"proxies": {name: {...}}, "floor": ...} of one case."""
    count = case.count_in_guest if guest else case.count
    chain, key = bench.certificates[case.key]
    suite = "ECDHE-RSA-AES128-GCM-SHA256" if case.key == "rsa" else "ECDHE-ECDSA-AES128-GCM-SHA256"
    samples = {name: [] for name in bench.proxies}
    with contextlib.ExitStack() as stack:
        tls = (chain, key, suite) if case.target_tls else None
        target = stack.enter_context(traffic.Target(bench.repository, bench.load_cpu, tls))
        service = proxies.Service(target.address, case.tls, case.target_tls, chain, key, case.key == "rsa")
        running = [stack.enter_context(proxies.ALL[name](service, bench.repository, bench.proxy_cpu))
                   for name in bench.proxies]
        for proxy in running:
            _spend(bench, case, proxy, max(1, count // 20))  # warm
        opening = {proxy: _opening(bench, case, proxy) for proxy in running}
        for number in range(rounds):
            for proxy in running:
                bench.say(f"{case.name}: round {number + 1} of {rounds}, {proxy.name}")
                samples[proxy.name].append(_sample(bench, case, proxy, count, opening[proxy]))
    result = {"what": case.what, "unit": f"CPU s per {case.unit}", "rounds": rounds, "count": count,
              "floor": floor_of_openssl(case), "moving": _moving(bench, case, rounds, count),
              "proxies": {name: _summary(rows) for name, rows in samples.items()}}
    ours, *others = bench.proxies
    if one := pairs.cheapest(samples, "cpu", others):
        result["ratio_to_better_peer"] = pairs.ratio(samples, "cpu", ours, one)
    return result


def _opening(bench, case, proxy):
    """Processor seconds for the connections of a case alone, which its unit leaves out; in a guest, where
    little is moved, they would be half of it."""
    if case.connections == 0:
        return 0
    return statistics.median(_spend(bench, case, proxy, case.connections)[0] for _ in range(3))


def _spend(bench, case, proxy, count):
    """(processor seconds of the proxy, what the client says)"""
    before = proxy.cpu_seconds()
    connections = ["--connections", case.connections] if case.connections else []
    done = traffic.client(bench, proxy, [*case.arguments, *connections, case.count_option, count])
    time.sleep(ENDING_SECONDS)
    return proxy.cpu_seconds() - before, done


def _sample(bench, case, proxy, count, opening):
    cpu, done = _spend(bench, case, proxy, count)
    return {"cpu": (cpu - opening) * case.per / count, "opening_cpu": opening, "wall": done["seconds"],
            "per_second": count / done["seconds"],
            "p50_us": done["latency_us"]["p50"], "p99_us": done["latency_us"]["p99"]}


def _summary(rows):
    def median(field):
        return statistics.median(row[field] for row in rows)
    times = [row["cpu"] for row in rows]
    return {"cpu_median": median("cpu"), "cpu_min": min(times), "cpu_max": max(times),
            "per_second": median("per_second"), "p50_us": median("p50_us"), "p99_us": median("p99_us"),
            "samples": rows}


def _moving(bench, case, rounds, count):
    """Processor seconds of the unit for a plain forwarder, which moves the same bytes, or opens and ends the
    same connections, without TLS."""
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(traffic.Target(bench.repository, bench.load_cpu))
        service = proxies.Service(target.address, tls=False)
        floor = stack.enter_context(proxies.Forward(service, bench.repository, bench.proxy_cpu))
        bench.say(f"{case.name}: a plain forwarder")
        _spend(bench, case, floor, max(1, count // 20))  # warm
        opening = _opening(bench, case, floor)
        return statistics.median(_sample(bench, case, floor, count, opening)["cpu"] for _ in range(rounds))


def floor_of_openssl(case):
    """Processor seconds of the unit for the cipher or the signature alone; None where neither matters."""
    if case.ciphered:
        said = traffic.openssl_speed("-bytes", str(case.record), "-evp", "aes-128-gcm")
        return case.ciphered / float(re.search(r"^\+F:\d+:\S+:(\S+)$", said, re.MULTILINE)[1])
    if case.name == "handshakes-rsa":
        return 1000 / float(re.search(r"^\+F2:\d+:2048:([^:]+):", traffic.openssl_speed("rsa2048"),
                                      re.MULTILINE)[1])
    if case.name == "handshakes-p256":
        return 1000 / float(re.search(r"^\+F4:\d+:256:([^:]+):", traffic.openssl_speed("ecdsap256"),
                                      re.MULTILINE)[1])
    return None


def table(name, result):
    """The lines of one case."""
    yield f"{name}: {result['what']}; {result['unit']}, median of {result['rounds']}"
    for proxy, row in result["proxies"].items():
        rate = row["per_second"]
        speed = f"{rate / 2**20:8.0f} MiB/s" if "GiB" in result["unit"] else f"{rate:8.0f} /s   "
        latency = f"  p50 {row['p50_us']:.0f} us, p99 {row['p99_us']:.0f} us" if row["p50_us"] else ""
        yield (f"  {proxy:<20}{row['cpu_median']:9.3f}  ({row['cpu_min']:.3f} - {row['cpu_max']:.3f})"
               f"{speed}{latency}")
    alone = "the signature" if name.startswith("handshakes") else "the cipher"
    of_openssl = f", openssl speed: {result['floor']:.3f} for {alone}" if result["floor"] is not None else ""
    yield (f"  {'floor':<20}{result['moving'] + (result['floor'] or 0):9.3f}  "
           f"(a plain forwarder: {result['moving']:.3f}{of_openssl})")
    if "ratio_to_better_peer" in result:
        ours = next(iter(result["proxies"]))
        yield f"  {ours} to the better of the others, pair by pair: {result['ratio_to_better_peer']:.2f}"
