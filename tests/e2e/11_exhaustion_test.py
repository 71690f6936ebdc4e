"""Promised: running out of flows (max_flows), descriptors or memory refuses new connections with a reset,
counts them, logs one line a second at most, leaves running flows alone, and passes by itself. Checked by
filling the limit, or by taking the limit of the running workers away with prlimit and giving it back."""

import datetime
import os
import time
import unittest

import harness
from certificates import certificates
from harness import (Proxy, group, limit_worker, needs_root, process_status, reserve_port, service,
                     tcp_listener, tls_listener, wait_until)
from peers import Target, echoed, serve_echo, tcp_client, tls_client

MIB = 1 << 20
NO_DESCRIPTORS_FOR_UBSAN = "its vptr check opens a pipe to see whether memory is readable"


class Exhaustion(unittest.TestCase):
    def start(self, **top):
        self.target = self.enterContext(Target(serve_echo))
        self.ports = {"TLS": reserve_port(), "TCP": reserve_port()}
        listeners = [tls_listener(self.ports["TLS"], certificates().leaf()), tcp_listener(self.ports["TCP"])]
        self.proxy = self.enterContext(Proxy(service(listeners, [group(self.target)], **top)))

    def connect(self, front):
        """A connected client whose flow works, or None when it was refused."""
        client = None
        try:
            client = tls_client(self.ports[front]) if front == "TLS" else tcp_client(self.ports[front])
            if echoed(client):
                self.addCleanup(client.close)
                return client
        except (OSError, AssertionError) as error:
            self.assertNotIsInstance(error, TimeoutError, "neither served nor refused")
        if client:
            client.close()
        return None

    def fill(self, front, most):
        """Connects until the first refusal; the clients that were served."""
        clients = []
        for _ in range(most):
            client = self.connect(front)
            if not client:
                return clients
            clients.append(client)
        raise AssertionError(f"{most} flows and no refusal")

    def refuse_many(self, front, count, reason, counter):
        """All are refused, each is counted, and the log stays quiet."""
        before, start = self.proxy.counters()[counter], time.monotonic()
        for _ in range(count):
            self.assertIsNone(self.connect(front))
        seconds = time.monotonic() - start
        self.assertGreaterEqual(self.proxy.counters()[counter], before + count)
        lines = self.proxy.events("refusing", reason=reason)
        self.assertGreaterEqual(len(lines), 1)
        for pid in {line["pid"] for line in lines}:
            times = [datetime.datetime.fromisoformat(line["time"]).timestamp()
                     for line in lines if line["pid"] == pid]
            gaps = [later - earlier for earlier, later in zip(times, times[1:])]
            self.assertTrue(all(gap > 0.95 for gap in gaps), f"{gaps} s between lines, within {seconds} s")

    def all_alive(self, clients):
        for client in clients:
            self.assertTrue(echoed(client, b"still here\n"))

    def recovers(self, front):
        wait_until("new flows to be served again", lambda: self.connect(front), every=0.05)

    def test_max_flows(self):
        self.start(max_flows=10)
        for front in ("TLS", "TCP"):
            with self.subTest(front):
                clients = self.fill(front, 30)
                self.assertEqual(len(clients), 10)
                self.proxy.wait_counters(ActiveFlowCount=10)
                self.refuse_many(front, 200, "max_flows", "RejectedFlowCount_MaxFlows")
                self.all_alive(clients)
                for client in clients:
                    client.close()
                self.proxy.wait_counters(ActiveFlowCount=0)
                again = self.fill(front, 30)
                self.assertEqual(len(again), 10)
                for client in again:
                    client.close()
                self.proxy.wait_counters(ActiveFlowCount=0)

    def test_one_free_place_is_one_more_flow(self):
        self.start(max_flows=5)
        clients = self.fill("TCP", 20)
        clients.pop().close()
        self.recovers("TCP")
        self.assertIsNone(self.connect("TCP"))
        self.assertEqual(self.proxy.counters()["ActiveFlowCount"], 5)

    @unittest.skipIf(harness.SANITIZED, NO_DESCRIPTORS_FOR_UBSAN)
    @needs_root
    def test_descriptors(self):
        self.start(workers=1)
        pid = self.proxy.workers()[0]
        first = [self.connect(front) for front in ("TLS", "TCP")]
        for front in ("TLS", "TCP"):
            with self.subTest(front):
                limit_worker(pid, "nofile", self.limit_for(pid, 12))
                clients = self.fill(front, 30)
                self.refuse_many(front, 50, "descriptors", "RejectedFlowCount_Descriptors")
                self.all_alive(first + clients)
                self.assert_not_spinning(pid)
                limit_worker(pid, "nofile", None)
                self.recovers(front)
                self.all_alive(first + clients)
                for client in clients:
                    client.close()
        self.assertEqual(self.proxy.workers()[0], pid)
        self.assertEqual(self.proxy.counters()["WorkerDeathCount"], 0)

    def limit_for(self, pid, more):
        """The limit below which so many descriptors are free: those in use have gaps."""
        used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
        return [number for number in range(len(used) + more) if number not in used][more - 1] + 1

    def assert_not_spinning(self, pid):
        """A connection that cannot be accepted must not keep the worker busy."""
        def cpu_seconds():
            with open(f"/proc/{pid}/stat") as stat:
                fields = stat.read().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        before, start = cpu_seconds(), time.monotonic()
        time.sleep(1)
        self.assertLess((cpu_seconds() - before) / (time.monotonic() - start), 0.3)

    @unittest.skipIf(harness.SANITIZED, NO_DESCRIPTORS_FOR_UBSAN)
    @needs_root
    def test_places_freed_by_closing_are_enough(self):
        """The limit stays: ending some flows is what lets new ones in."""
        self.start(workers=1)
        pid = self.proxy.workers()[0]
        limit_worker(pid, "nofile", self.limit_for(pid, 20))
        clients = self.fill("TCP", 40)
        for client in clients[:4]:
            client.close()
        self.recovers("TCP")
        self.all_alive(clients[4:])

    @unittest.skipIf(harness.SANITIZED, "the sanitizers reserve terabytes of address space")
    @needs_root
    def test_memory(self):
        self.start(workers=1)
        pid = self.proxy.workers()[0]
        first = [self.connect(front) for front in ("TLS", "TCP")]
        size = int(process_status(pid)["VmSize"].split()[0]) * 1024
        limit_worker(pid, "as", size + MIB)
        clients = self.fill("TLS", 3000)
        self.refuse_many("TLS", 50, "memory", "RejectedFlowCount_Memory")
        self.all_alive(first + clients)
        limit_worker(pid, "as", None)
        self.recovers("TLS")
        self.all_alive(first + clients)
        self.assertEqual(self.proxy.workers()[0], pid)
        self.assertEqual(self.proxy.counters()["WorkerDeathCount"], 0)


if __name__ == "__main__":
    harness.main()
