"""Promised: the monitor process serves the numbers as Prometheus text that promtool has nothing to say
against, equal to what the clients sent and got, to the flow and to the byte, also after a worker was killed;
nothing that a stranger does to it keeps a good scraper out or ends it; killed, it is replaced and no flow
notices; it has neither privileges nor keys. Checked against the clients' own books and by /proc."""

import collections
import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import harness
from certificates import certificates
from exposition import ask_promtool, request, scrape
from harness import (Proxy, group, needs_root, process_exists, process_status, reserve_port, run_program,
                     scaled, service, tcp_listener, tls_listener, toml, wait_until)
from peers import Target, TlsEnd, client_context, echoed, serve_echo, tcp_client, tls_client

FLOWS = scaled(400, 80)
DEFAULT = ("127.0.0.1", 9464)
GET = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"


class WithMetrics(unittest.TestCase):
    def start(self, targets=None, listener=None, **top):
        self.target = self.enterContext(Target(serve_echo))
        self.ports = {"web": reserve_port(), "plain": reserve_port()}
        self.port = reserve_port()
        listeners = [tls_listener(self.ports["web"], certificates().leaf(), **(listener or {})),
                     tcp_listener(self.ports["plain"])]
        config = service(listeners, [group(*(targets or [self.target]))],
                         metrics={"address": f"127.0.0.1:{self.port}"}, **top)
        self.proxy = self.enterContext(Proxy(config))

    def samples(self):
        return scrape(self.port)

    def wait_samples(self, name, value, **labels):
        def story():
            return f"{name} {labels}: expected {value}, have {self.samples().sum(name, **labels)}"
        wait_until(story, lambda: self.samples().sum(name, **labels) == value, every=0.05)

    def flow(self, listener):
        return tls_client(self.ports[listener]) if listener == "web" else tcp_client(self.ports[listener])


class Values(WithMetrics):
    def test_equal_what_the_clients_sent_also_after_a_worker_was_killed(self):
        self.start()
        self.books = collections.defaultdict(collections.Counter)
        for part in range(2):
            for number in range(FLOWS // 2):
                self.one_flow("web" if number % 4 == 0 else "plain", 1 + number * 7 % 5000)
            self.check()
            victim = self.proxy.workers()[part]
            os.kill(victim, signal.SIGKILL)
            wait_until("another worker", lambda: self.proxy.workers().get(part, victim) != victim)
            self.wait_samples("tlsplice_worker_restart_count_total", part + 1)
        self.check()
        status, said = ask_promtool("check", "metrics", text=self.samples().text)
        self.assertEqual((status, said), (0, ""))

    def one_flow(self, listener, size):
        context = client_context() if listener == "web" else None
        connection = tcp_client(self.ports[listener])
        end = TlsEnd(connection, context) if context else None
        if end:
            end.send(bytes(size))
            self.assertEqual(end.receive(size), bytes(size))
            end.finish()
            end.rest()
            end.close()
        else:
            with connection:
                self.assertTrue(echoed(connection, bytes(size - 1) + b"\n"))
        self.books[listener].update(flows=1, bytes=size)

    def check(self):
        for listener, book in self.books.items():
            protocol = "TLS" if listener == "web" else "TCP"
            self.wait_samples("tlsplice_new_flow_count_total", book["flows"], listener=listener,
                              protocol=protocol)
            self.wait_samples("tlsplice_active_flows", 0, listener=listener)
            for direction in "from_client", "to_client":
                self.wait_samples("tlsplice_processed_bytes_total", book["bytes"], listener=listener,
                                  direction=direction)
            for timed in "target_connect", "flow_duration":
                self.wait_samples(f"tlsplice_{timed}_seconds_count", book["flows"], listener=listener)
        total, tls = self.books["web"] + self.books["plain"], self.books["web"]["flows"]
        for direction in "to_target", "from_target":
            self.wait_samples("tlsplice_target_group_processed_bytes_total", total["bytes"],
                              target=self.target.address, target_group="app", direction=direction)
        samples = self.samples()
        self.assertEqual(samples.sum("tlsplice_target_group_new_flow_count_total"), total["flows"])
        self.assertEqual(samples.sum("tlsplice_worker_accepted_count_total"), total["flows"])
        for name in "client_tls_handshake_seconds_count", "client_tls_handshake_count_total":
            self.assertEqual(samples.sum(f"tlsplice_{name}"), tls, name)
        self.assertEqual(samples.sum("tlsplice_worker_handshake_count_total"), tls)
        self.assertEqual(samples.sum("tlsplice_negotiated_count_total", side="client"), tls)
        self.assertEqual(samples.sum("tlsplice_tls_connection_count_total", side="client", direction="send"),
                         tls)
        self.assertEqual(samples.sum("tlsplice_client_tls_negotiation_error_count_total"), 0)
        self.check_histograms(samples)
        self.check_counters(samples)

    def check_histograms(self, samples):
        self.assertEqual(len(samples.histograms()), 5)
        for name, labels, buckets in samples.histograms():
            counts = [buckets[bound] for bound in sorted(buckets)]
            self.assertEqual(counts, sorted(counts), name)
            self.assertEqual(counts[-1], samples.sum(f"{name}_count", **dict(labels)))
            mean = samples.sum(f"{name}_sum", **dict(labels)) / counts[-1]
            self.assertTrue(0 < mean < 1, f"{name} {labels}: {mean} s")

    def check_counters(self, samples):
        """The log's line, summed over the same rows by another process."""
        counters = self.proxy.counters()
        for name, counter in (("tlsplice_new_flow_count_total", "NewFlowCount"),
                              ("tlsplice_processed_bytes_total", "ProcessedBytes"),
                              ("tlsplice_tcp_elb_reset_count_total", "TCP_ELB_Reset_Count"),
                              ("tlsplice_truncated_count_total", "TruncatedCount"),
                              ("tlsplice_monitor_death_count_total", "MonitorDeathCount")):
            self.assertEqual(samples.sum(name), counters[counter], name)

    def test_flows_that_are_open_and_errors_by_reason(self):
        self.start(listener={"handshake_timeout": "1s"})
        clients = [self.flow(listener) for listener in ("web", "plain", "plain")]
        self.assertTrue(all(echoed(client) for client in clients))
        self.wait_samples("tlsplice_active_flows", 2, listener="plain")
        self.wait_samples("tlsplice_active_flows", 1, listener="web")
        self.wait_samples("tlsplice_worker_active_flows", 3)
        with tcp_client(self.ports["web"]) as client:
            client.sendall(GET)
            client.recv(100)
        with tcp_client(self.ports["web"]) as client:
            client.recv(1)  # until the handshake timeout
        for reason in "not_tls", "timeout":
            self.wait_samples("tlsplice_client_tls_negotiation_error_count_total", 1, reason=reason)
        self.wait_samples("tlsplice_client_tls_negotiation_error_count_total", 2)
        for client in clients:
            client.close()
        self.wait_samples("tlsplice_active_flows", 0)

    def test_workers_say_how_they_are(self):
        self.start(workers=3)
        samples = self.samples()
        for worker in "012":
            self.assertEqual(samples.sum("tlsplice_worker_up", worker=worker), 1)
            silent = samples.sum("tlsplice_worker_heartbeat_age_seconds", worker=worker)
            self.assertLess(silent, scaled(2, 10))
        self.assertAlmostEqual(samples.sum("process_start_time_seconds"), time.time(), delta=harness.PATIENCE)
        self.assertEqual(samples.sum("tlsplice_build_info"), 1)
        os.kill(self.proxy.workers()[1], signal.SIGSTOP)
        stopped = self.proxy.workers()[1]
        try:
            wait_until("a heart that is silent", lambda: self.samples().sum(
                "tlsplice_worker_heartbeat_age_seconds", worker="1") > 1)
        finally:
            os.kill(stopped, signal.SIGCONT)

    def test_of_a_fresh_service_promtool_has_nothing_to_say_against(self):
        self.start()
        self.assertEqual(ask_promtool("check", "metrics", text=self.samples().text), (0, ""))
        bad = "# TYPE bad_total gauge\nbad_total 1\n"
        self.assertNotEqual(ask_promtool("check", "metrics", text=bad), (0, ""))


class Http(WithMetrics):
    def test_pages(self):
        self.start()
        metrics = request(self.port)
        self.assertEqual((metrics.status, metrics.getheader("Content-Type")),
                         (200, "text/plain; version=0.0.4; charset=utf-8"))
        head = request(self.port, method="HEAD")
        self.assertEqual((head.status, head.text), (200, ""))
        self.assertGreater(int(head.getheader("Content-Length")), 1000)
        health = request(self.port, "/healthz")
        self.assertEqual((health.status, health.text), (200, "ok\n"))
        self.assertIn('href="/metrics"', request(self.port, "/").text)
        self.assertEqual(request(self.port, "/nothing").status, 404)
        refused = request(self.port, method="POST")
        self.assertEqual((refused.status, refused.getheader("Allow")), (405, "GET, HEAD"))

    def test_strangers_neither_keep_a_scraper_out_nor_end_the_monitor(self):
        self.start()
        monitor = wait_until("the monitor", self.proxy.monitor)
        stop = threading.Event()
        slow = [self.enterContext(tcp_client(self.port)) for _ in range(scaled(300, 100))]
        for number, client in enumerate(slow):
            with contextlib.suppress(ConnectionError):
                client.sendall(GET[:number % len(GET)])
        strangers = [threading.Thread(target=self.bother, args=(stop, work)) for work in
                     (self.drip, self.garbage, self.huge, self.greedy, self.many)]
        for stranger in strangers:
            stranger.start()
        try:
            for _ in range(30):
                began = time.monotonic()
                self.assertEqual(self.samples().sum("tlsplice_build_info"), 1)
                self.assertLess(time.monotonic() - began, 10)  # Prometheus' scrape_timeout
                time.sleep(0.05)
        finally:
            stop.set()
            for stranger in strangers:
                stranger.join(harness.PATIENCE)
        self.assertEqual(self.proxy.monitor(), monitor)
        self.assertEqual(self.proxy.events("monitor_died"), [])
        self.assertLess(self.memory(monitor), scaled(40, 400) * 1024)
        with self.flow("web") as client:
            self.assertTrue(echoed(client))

    @staticmethod
    def memory(pid):
        return int(process_status(pid)["VmRSS"].split()[0])

    def bother(self, stop, work):
        while not stop.is_set():
            with contextlib.suppress(OSError), tcp_client(self.port, timeout=5) as client:
                work(client)

    @staticmethod
    def drip(client):
        for byte in GET[:20]:
            client.sendall(bytes([byte]))
            time.sleep(0.02)

    @staticmethod
    def garbage(client):
        client.sendall(os.urandom(20000))
        client.recv(1000)

    @staticmethod
    def huge(client):
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 2_000_000)

    @staticmethod
    def greedy(client):
        """Asks a hundred times and reads nothing."""
        client.sendall(GET * 100)
        time.sleep(0.2)

    def many(self, client):
        with contextlib.ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(tcp_client(self.port, timeout=5))


class Process(WithMetrics):
    def test_killed_it_is_replaced_and_no_flow_notices(self):
        self.start()
        clients = [self.flow(listener) for listener in ("web", "plain") * 4]
        self.assertTrue(all(echoed(client) for client in clients))
        before = self.samples().sum("tlsplice_new_flow_count_total")
        for deaths in 1, 2:
            victim = wait_until("a monitor", self.proxy.monitor)
            os.kill(victim, signal.SIGKILL)
            self.assertEqual(self.samples().sum("tlsplice_new_flow_count_total"), before)
            self.wait_samples("tlsplice_monitor_death_count_total", deaths)
            died = self.proxy.wait_events("monitor_died", deaths)[-1]
            self.assertEqual((died["monitor_pid"], died["signal"]), (str(victim), "9"))
            self.assertTrue(all(echoed(client) for client in clients))
        self.assertEqual(self.proxy.counters()["WorkerDeathCount"], 0)
        for client in clients:
            client.close()

    def test_is_there_while_the_service_drains_and_ends_with_it(self):
        self.start(drain_timeout="20s")
        monitor = wait_until("the monitor", self.proxy.monitor)
        with self.flow("plain") as client:
            self.assertTrue(echoed(client))
            self.proxy.tell(signal.SIGTERM)
            self.wait_samples("tlsplice_worker_draining", 1)  # the other one had no flow: gone
            self.wait_samples("tlsplice_worker_up", 1)
            self.assertEqual(self.samples().sum("tlsplice_active_flows"), 1)
            self.assertTrue(echoed(client))
        self.assertEqual(self.proxy.wait(), 0)
        self.assertFalse(process_exists(monitor))

    def test_does_not_outlive_the_master(self):
        self.start()
        monitor = wait_until("the monitor", self.proxy.monitor)
        self.proxy.workers()
        self.proxy.expected_status = -signal.SIGKILL
        self.proxy.process.kill()
        wait_until("the monitor to end", lambda: not process_exists(monitor))
        wait_until("the workers to end", lambda: not self.proxy.workers())

    @needs_root
    def test_has_no_privileges_and_no_sockets_but_its_own(self):
        self.start()
        self.samples()
        monitor = self.proxy.monitor()
        harness.assert_unprivileged(self, monitor, "nobody")
        def held():
            return [os.readlink(file) for file in pathlib.Path(f"/proc/{monitor}/fd").iterdir()
                    if os.path.lexists(file)]
        # Once the scrape's own connection is gone.
        wait_until(held, lambda: sum(name.startswith("socket:") for name in held()) == 1)
        self.assertFalse([name for name in held() if "bpf" in name or "io_uring" in name], held())

    @needs_root
    def test_has_no_private_key(self):
        """A prime of the key, as the library holds it, is in a worker's memory and not in the monitor's."""
        self.start()
        self.samples()
        shown = subprocess.run(["openssl", "rsa", "-in", certificates().leaf()["key"], "-noout", "-text"],
                               capture_output=True, text=True, check=True).stdout
        digits = re.search(r"prime1:\s+([0-9a-f:\s]+)", shown)[1]
        prime = bytes.fromhex("".join(digits.split()).replace(":", "")).lstrip(b"\0")[::-1]
        self.assertTrue(self.holds(self.proxy.workers()[0], prime))
        self.assertFalse(self.holds(self.proxy.monitor(), prime))

    def holds(self, pid, needle):
        ranges = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) rw.* 0 +(?:\[heap\])?$",
                            pathlib.Path(f"/proc/{pid}/maps").read_text(), re.MULTILINE)
        self.assertTrue(ranges)
        try:
            with open(f"/proc/{pid}/mem", "rb", 0) as memory:
                for first, last in ((int(first, 16), int(last, 16)) for first, last in ranges):
                    if last - first > 1 << 30:
                        continue  # the sanitizers' shadow
                    memory.seek(first)
                    if needle in memory.read(last - first):
                        return True
        except PermissionError:
            self.skipTest("this root may not look into processes")
        return False


class Address(unittest.TestCase):
    def config(self, **top):
        return service([tcp_listener(reserve_port())], [group("127.0.0.1:9")], **top)

    def test_off_means_no_monitor(self):
        with Proxy(self.config()) as proxy:
            self.assertEqual(proxy.events("metrics") + proxy.events("monitor_started"), [])

    def test_the_default_may_be_taken(self):
        config = self.config()
        del config["metrics"]
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # then somebody else has it
                stack.enter_context(socket.create_server(DEFAULT))
            with Proxy(config) as proxy:
                said = proxy.events("no_metrics")
                self.assertEqual(len(said), 1)
                self.assertIn("127.0.0.1:9464", said[0]["why"])
                self.assertIn("[metrics] address", said[0]["remedy"])
                self.assertIsNone(proxy.monitor())

    def test_a_configured_one_may_not(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            config = self.config(metrics={"address": "127.0.0.1:{}".format(taken.getsockname()[1])})
            with self.assertRaises(AssertionError) as refused, Proxy(config):
                pass
        self.assertIn("event=not_started", str(refused.exception))
        self.assertIn("metrics.address: bind 127.0.0.1", str(refused.exception))

    def test_ipv6(self):
        port = reserve_port()
        with Proxy(self.config(metrics={"address": f"[::1]:{port}"})):
            with socket.create_connection(("::1", port), harness.PATIENCE) as client:
                client.sendall(GET)
                self.assertTrue(client.recv(100).startswith(b"HTTP/1.1 200 "))

    def test_check_says_where(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "tlsplice.toml"
            for address, shown in ("off", "off"), ("[::1]:9100", "http://[::1]:9100/metrics"):
                file.write_text(toml(self.config(metrics={"address": address})))
                self.assertIn(f"\nmetrics: {shown}\n", run_program("check", "-c", file).stdout)


if __name__ == "__main__":
    harness.main()
