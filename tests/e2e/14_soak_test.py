"""Promised: whatever the flows do, nothing of them stays. Clients of tlsplice-load send random sizes with
pauses, half-close from either side, reset from either side, with 1.2 and 1.3 and in clear, to targets with
TLS and without, all verifying every byte; then every flow must be counted once and as it ended, no worker
may have died, and no socket, no pipe beyond the pools and no memory may be left. Run natively this is user-
space TLS; tests/vm runs it on kernels that have TLS. SOAK_FLOWS is the number of flows (10000: the full
soak)."""

import collections
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import unittest

import harness
from certificates import certificates
from harness import (Proxy, group, needs_root, reserve_port, scaled, service, tcp_listener, tls_listener,
                     wait_until)
from traffic import POLICY, Serve, start

GUEST = bool(os.environ.get("VM_KERNEL"))
FLOWS = int(os.environ.get("SOAK_FLOWS", 240 if GUEST else scaled(6000, 200)))
AT_ONCE = max(10, min(100, FLOWS // 20))  # of each client
ROUNDS = 4 if GUEST else 8  # after a first one; peaks of several flows at once may still come in any of them
SECONDS = 60 + FLOWS * (1 if GUEST else 0.3)
STALL_SECONDS = 300 if GUEST else 60  # a guest with a thousand handshakes to do may take its time
POOLED_PIPES = 64  # of one worker, two descriptors each
MIB = 1 << 20
LEAK = 64 * 1024  # bytes of a worker in every round
PATIENT = "300s" if GUEST else "60s"  # for handshakes; hundreds at a time take longer than the default there


def memory(pid):
    """The worker's share of memory in bytes."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss: +(\d+) kB$", text, re.MULTILINE)[1]) * 1024


def descriptors(pid):
    """{kind: how many}"""
    names = (os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))
    return collections.Counter(name.split(":")[0] for name in names)


def at_rest(before, now):
    """No more than before, but for the pipes of the pool."""
    more = now - before
    return before <= now and more.keys() <= {"pipe"} and more["pipe"] <= 2 * POOLED_PIPES


class Soak(unittest.TestCase):
    @needs_root
    def test_nothing_of_the_flows_stays(self):
        leaf = certificates().leaf("ec-256")
        keys = {"certificate_keys": "any", "ssl_policy": POLICY, "handshake_timeout": PATIENT}
        ports = {name: reserve_port() for name in ("web", "again", "plain")}
        with (Serve(stall=STALL_SECONDS) as plain_target,
              Serve("--tls", leaf["chain"], leaf["key"], stall=STALL_SECONDS) as tls_target):
            listeners = [tls_listener(ports["web"], leaf, **keys),
                         tls_listener(ports["again"], leaf, "again", "secret", **keys),
                         tcp_listener(ports["plain"])]
            groups = [group(plain_target, connect_timeout=PATIENT),
                      group(tls_target, name="secret", protocol="TLS", connect_timeout=PATIENT)]
            with Proxy(service(listeners, groups)) as proxy:
                self.proxy = proxy
                self.soak(proxy, ports)
            self.check_targets(plain_target.stop(), tls_target.stop())

    def soak(self, proxy, ports):
        """In rounds: pools and allocator keep the height they once reached, which any round may raise; what
        leaks grows in every one."""
        workers = proxy.workers()
        before = {pid: descriptors(pid) for pid in workers.values()}
        heights = collections.defaultdict(list)
        self.totals = collections.Counter()
        for number in range(ROUNDS + 1):
            self.totals += self.run_clients(ports, FLOWS // ROUNDS, seed=number)
            self.check_books(proxy, self.totals)
            for pid in before:
                wait_until(lambda: f"descriptors {before[pid]}, now {descriptors(pid)}",
                           lambda: at_rest(before[pid], descriptors(pid)))
                heights[pid].append(memory(pid))
        self.assertEqual(proxy.workers(), workers)
        self.assertGreater(min(self.totals.values()), 0, self.totals)  # every way to end was gone
        for pid, marks in heights.items():
            growth = [later - earlier for earlier, later in zip(marks, marks[1:])]
            print(f"worker {pid}: {marks[0] / MIB:.1f} MiB, then KiB {[grown // 1024 for grown in growth]}",
                  file=sys.stderr)
            self.assertTrue(harness.SANITIZED or min(growth) < LEAK, growth)

    def run_clients(self, ports, flows, seed):
        """All at the same time; the sums of what they say."""
        kinds = [(ports["web"], "--tls", "--tls-version", "1.3"),
                 (ports["web"], "--tls", "--tls-version", "1.2"),
                 (ports["again"], "--tls"), (ports["plain"], "--plain")]
        started = time.monotonic()
        clients = [start("client", "--connect", f"127.0.0.1:{port}", *options, "--stall", STALL_SECONDS,
                         "--seed", 10 * seed + number, "soak", "--flows", flows // len(kinds),
                         "--concurrency", AT_ONCE) for number, (port, *options) in enumerate(kinds)]
        try:
            outputs = [client.communicate(timeout=SECONDS)[0] for client in clients]
        finally:
            for client in clients:
                client.kill()
        results = [json.loads(output) for output in outputs]
        for result in results:
            self.assertTrue(result["ok"], f"{result}; the log has {self.ends_in_log()}")
        sums = collections.Counter()
        for result in results:
            sums.update({"flows": result["flows"], **result["ends"]})
        seconds = time.monotonic() - started
        moved = sum(result["sent_bytes"] + result["received_bytes"] for result in results)
        print(f"{sums['flows']} flows, {moved / MIB:.0f} MiB, {seconds:.1f} s", file=sys.stderr)
        return sums

    def ends_in_log(self):
        return collections.Counter((line["listener"], line["end"], line["detail"])
                                   for line in self.proxy.events("flow"))

    def check_books(self, proxy, sums):
        """Clients, log lines and counters tell the same story."""
        flows = sums["flows"]
        proxy.wait_counters(ActiveFlowCount=0, NewFlowCount=flows)
        lines = proxy.wait_events("flow", flows)
        self.assertEqual(len(lines), flows)
        ends = collections.Counter(line["end"] for line in lines)
        resets = {"client_reset": sums["client_resets"], "target_reset": sums["server_resets"]}
        self.assertEqual(ends, {"closed": flows - sum(resets.values()), **resets})
        counters = proxy.counters()
        expected = {"TCP_Client_Reset_Count": resets["client_reset"],
                    "TCP_Target_Reset_Count": resets["target_reset"]}
        expected.update(dict.fromkeys(
            ("ActiveFlowCount_TLS", "ActiveFlowCount_TCP", "ClientTLSNegotiationErrorCount", "TruncatedCount",
             "TargetTLSNegotiationErrorCount", "TargetConnectionErrorCount", "IdleTimeoutCount",
             "RejectedFlowCount_MaxFlows", "RejectedFlowCount_Descriptors", "RejectedFlowCount_Memory",
             "WorkerDeathCount", "DroppedLogLineCount"), 0))
        self.assertEqual({name: counters[name] for name in expected}, expected)
        moved = sum(int(line["received_bytes"]) + int(line["sent_bytes"]) for line in lines)
        self.assertEqual(counters["ProcessedBytes"], moved)
        if GUEST:
            tls = [line for line in lines if line["protocol"] != "-"]
            self.assertEqual({line["client_ktls"] for line in tls}, {"kernel"})
            self.assertGreater(counters["KtlsConnectionCount"], len(tls))

    def check_targets(self, *ends):
        """The other end of each flow saw what the client saw."""
        seen = collections.Counter()
        for status, result in ends:
            self.assertEqual((status, result["errors"], result["cut"]), (0, {}, 0), result)
            seen.update({"flows": result["flows"], **result["ends"]})
        self.assertEqual(seen, self.totals)


if __name__ == "__main__":
    harness.main()
