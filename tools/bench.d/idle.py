"""What an idle flow costs: the memory (PSS) of all processes of a proxy before and after so many flows have
been opened, have exchanged 100 bytes each way, and rest. The floor is a plain forwarder, without TLS."""

import time

import proxies
import traffic

SETTLE_SECONDS = 2


def run(bench, flows):
    """[{"proxy": ..., "bytes_per_flow": ...}], one for each, and the floor."""
    if flows > proxies.FLOWS_MAX:
        flows = proxies.FLOWS_MAX
        bench.say(f"idle: {flows} flows: more do not fit into {proxies.DESCRIPTORS} descriptors (ulimit -Hn)")
    chain, key = bench.certificates["p256"]
    rows = []
    for kind in proxies.and_the_floor(bench.proxies):
        with traffic.Target(bench.repository, bench.load_cpu) as target:
            service = proxies.Service(target.address, kind.tls, chain=chain, key=key, rsa=False)
            with kind(service, bench.repository, bench.proxy_cpu) as proxy:
                bench.say(f"idle: {flows} flows through {proxy.name}")
                rows.append({"proxy": proxy.name, "flows": flows, **_measure(bench, proxy, flows)})
    return rows


def _measure(bench, proxy, flows):
    _hold(bench, proxy, 10)  # what the first flows alone cost
    before = proxy.memory()
    after = _hold(bench, proxy, flows)
    time.sleep(SETTLE_SECONDS)
    return {"before_bytes": before, "after_bytes": after, "bytes_per_flow": (after - before) / flows,
            "bytes_kept": proxy.memory() - before}


def _hold(bench, proxy, flows):
    """The memory while that many flows rest."""
    with traffic.resting(bench, proxy, flows, SETTLE_SECONDS):
        return proxy.memory()


def table(rows):
    yield f"{'idle':<18}{'flows':>8}{'KiB each':>10}{'MiB before':>12}{'MiB with':>10}{'MiB kept':>10}"
    for row in rows:
        yield (f"{row['proxy']:<18}{row['flows']:>8}{row['bytes_per_flow'] / 1024:>10.2f}"
               f"{row['before_bytes'] / 2**20:>12.1f}{row['after_bytes'] / 2**20:>10.1f}"
               f"{row['bytes_kept'] / 2**20:>10.1f}")
