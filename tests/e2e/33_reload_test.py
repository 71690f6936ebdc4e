"""Promised: a reload (SIGHUP) is noticed by nobody. New workers serve the new configuration, flows that run
go on with the old ones to their ends, no connection is refused, reset or lost, however many reloads there
are; the totals go on. What is wrong with the new configuration is said, and nothing changes. Checked with
clients and targets that verify every byte and every end, with listeners that come and go, other numbers of
workers, another certificate, and files that are wrong in every way that a start would find."""

import collections
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import threading
import unittest

import harness
from certificates import certificates
from exposition import request
from harness import Proxy, group, process_exists, reserve_port, scaled, service, tcp_listener, tls_listener
from peers import Target, echoed, serve_echo, tcp_client, tls_client

LOAD = os.environ.get("TLSPLICE_LOAD") or str(pathlib.Path(harness.PROGRAM).with_name("tlsplice-load"))
RELOADS = int(os.environ.get("RELOADS", scaled(100, 12)))


def load(*arguments):
    return subprocess.Popen([LOAD, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            text=True, preexec_fn=harness.end_with_the_test)


def named(text):
    """A target that says its name to everybody."""
    def serve(connection):
        connection.sendall(text + b"\n")
        return connection.recv(1)
    return serve


class Reload(unittest.TestCase):
    def setUp(self):
        self.port = reserve_port()
        self.echo = self.enterContext(Target(serve_echo))

    def start(self, config=None):
        self.proxy = self.enterContext(Proxy(config or self.config()))
        return self.proxy

    def config(self, listeners=None, groups=None, **top):
        return service(listeners or [tcp_listener(self.port)], groups or [group(self.echo)], **top)

    def reload(self, config=None):
        self.assertEqual(self.proxy.reload(config), "reloaded", self.proxy.events("not_reloaded"))

    def refused(self, config=None):
        """The mistakes that were found in it."""
        before = len(self.proxy.events("not_reloaded"))
        self.assertEqual(self.proxy.reload(config), "not_reloaded")
        return [line["error"] for line in self.proxy.events("not_reloaded")[before:]]


class Flows(Reload):
    def test_flows_go_on_and_new_ones_have_the_new_configuration(self):
        first, second = (self.enterContext(Target(named(name))) for name in (b"first", b"second"))
        proxy = self.start(self.config(groups=[group(first)]))
        old_workers = proxy.workers()
        old = self.enterContext(tcp_client(self.port))
        self.assertEqual(old.recv(100), b"first\n")
        self.reload(self.config(groups=[group(second)]))
        with tcp_client(self.port) as new:
            self.assertEqual(new.recv(100), b"second\n")
        self.assertFalse(set(old_workers.values()) & set(proxy.workers().values()))
        # The one that has a flow is still there, the other one has ended.
        harness.wait_until("one old worker", lambda: sum(map(process_exists, old_workers.values())) == 1)
        old.close()
        harness.wait_until("no old worker", lambda: not any(map(process_exists, old_workers.values())))
        proxy.wait_events("generation_ended", generation=1)
        proxy.wait_counters(ActiveFlowCount=0, NewFlowCount=2, WorkerDeathCount=0)

    def test_a_flow_outlives_many_generations_and_stays_counted(self):
        proxy = self.start()
        flow = self.enterContext(tcp_client(self.port))
        self.assertTrue(echoed(flow))
        for _ in range(5):
            self.reload()
            self.assertTrue(echoed(flow))
        proxy.wait_counters(ActiveFlowCount=1, NewFlowCount=1, ProcessedBytes=2 * 6 * len(b"ping\n"))
        flow.close()
        proxy.wait_counters(ActiveFlowCount=0, NewFlowCount=1)
        proxy.wait_events("generation_ended", 5)

    def test_a_stop_ends_the_flows_of_all_generations(self):
        proxy = self.start(self.config(drain_timeout="500ms"))
        flows = []
        for _ in range(3):
            flows.append(self.enterContext(tcp_client(self.port)))
            self.assertTrue(echoed(flows[-1]))
            self.reload()
        self.assertEqual(proxy.stop(), 0)
        self.assertEqual(len(proxy.events("flow", end="cut")), 3)

    def test_a_retired_worker_that_is_killed_is_not_replaced(self):
        proxy = self.start()
        flow = self.enterContext(tcp_client(self.port))
        self.assertTrue(echoed(flow))
        worker = proxy.worker_of(flow)
        self.reload()
        os.kill(worker, signal.SIGKILL)
        proxy.wait_events("worker_died", worker_pid=worker)
        proxy.wait_events("generation_ended", generation=1)
        self.assertEqual(len(proxy.workers()), 2)
        proxy.wait_counters(ActiveFlowCount=0, NewFlowCount=1, WorkerDeathCount=1)


class Shape(Reload):
    def test_listeners_come_and_go(self):
        other = reserve_port()
        proxy = self.start()
        both = [tcp_listener(self.port), tls_listener(other, certificates().leaf())]
        self.reload(self.config(listeners=both))
        with tls_client(other) as connection:
            self.assertTrue(echoed(connection))
            self.reload(self.config(listeners=[tcp_listener(self.port)]))
            self.assertTrue(echoed(connection))
        # Nobody listens once the last of the old workers has emptied its queue.
        def closed():
            try:
                tcp_client(other).close()
            except ConnectionRefusedError:
                return True
            return False
        harness.wait_until("the port is closed", closed)
        with tcp_client(self.port) as connection:
            self.assertTrue(echoed(connection))
        proxy.wait_counters(ActiveFlowCount=0)

    def test_a_listener_becomes_tls_where_it_is(self):
        self.start()
        with tcp_client(self.port) as plain:
            self.assertTrue(echoed(plain))
            self.reload(self.config(listeners=[tls_listener(self.port, certificates().leaf())]))
            self.assertTrue(echoed(plain))
            with tls_client(self.port) as connection:
                self.assertTrue(echoed(connection))

    def test_the_number_of_workers_goes_up_and_down(self):
        proxy = self.start(self.config(workers=1))
        for workers in (4, 1, 3, 2):
            self.reload(self.config(workers=workers))
            self.assertEqual(proxy.events("serving")[-1]["workers"], str(workers))
            flows = [self.enterContext(tcp_client(self.port)) for _ in range(16)]
            for flow in flows:
                self.assertTrue(echoed(flow))
        proxy.wait_counters(ActiveFlowCount=64, NewFlowCount=64)

    def test_certificates_are_read_anew(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        place = {name: pathlib.Path(folder) / f"{name}.pem" for name in ("chain", "key")}

        def install(certificate):
            for name, path in place.items():
                path.write_bytes(certificate[name].read_bytes())

        def served():
            with tls_client(self.port) as connection:
                return connection.getpeercert(binary_form=True)
        install(certificates().leaf())
        self.start(self.config(listeners=[tls_listener(self.port, place, certificate_keys="any")]))
        before = served()
        install(certificates().leaf("ec-256"))
        self.assertEqual(served(), before)
        self.reload()
        self.assertNotEqual(served(), before)

    def test_the_metrics_go_on(self):
        address = reserve_port()
        config = self.config(metrics={"address": f"127.0.0.1:{address}"})
        proxy = self.start(config)
        flow = self.enterContext(tcp_client(self.port))
        self.assertTrue(echoed(flow))
        self.reload()
        with tcp_client(self.port) as connection:
            self.assertTrue(echoed(connection))

        wanted = 'tlsplice_new_flow_count_total{listener="plain",protocol="TCP"} 2'
        harness.wait_until("metrics of the new generation", lambda: wanted in self.page(address, "/metrics"))
        moved = reserve_port()
        self.reload(self.config(metrics={"address": f"127.0.0.1:{moved}"}))
        harness.wait_until("metrics at the new address", lambda: self.page(moved, "/healthz"))
        self.assertEqual(self.page(address, "/healthz"), "")
        self.assertEqual(proxy.events("monitor_died"), [])

    @staticmethod
    def page(port, path):
        """Empty while nobody answers."""
        try:
            return request(port, path).text
        except OSError:
            return ""


class Refused(Reload):
    def test_what_is_wrong_is_said_and_nothing_changes(self):
        proxy = self.start()
        workers = proxy.workers()
        missing = {"chain": proxy.folder / "nothing.pem", "key": proxy.folder / "nothing.key"}
        taken = self.enterContext(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        cases = {
            "nope": self.config(listeners=[tcp_listener(self.port, forward="nope")]),
            "nothing.pem": self.config(listeners=[tls_listener(self.port, missing)]),
            "in use": self.config(listeners=[tcp_listener(self.port), tcp_listener(taken, name="other")]),
            "metrics.address": self.config(metrics={"address": f"127.0.0.1:{taken}"}),
            "/nowhere/at": self.config(admin={"socket": "/nowhere/at/all.sock"}),
            "no such user": self.config(user="nobody-of-that-name"),
        }
        if not harness.ROOT:
            cases["only root"] = cases.pop("no such user")
        for word, config in cases.items():
            with self.subTest(word):
                mistakes = self.refused(config)
                self.assertTrue(any(word in mistake.lower() for mistake in mistakes), mistakes)
                self.assertEqual(proxy.workers(), workers)
                with tcp_client(self.port) as connection:
                    self.assertTrue(echoed(connection))
        self.reload(self.config())

    def test_every_mistake_is_said(self):
        proxy = self.start()
        proxy.config_file.write_text("workers = 0\nnonsense = 1\n[[listener]]\n")
        mistakes = self.refused()
        self.assertGreaterEqual(len(mistakes), 5)
        self.assertTrue(all(str(proxy.config_file) in mistake for mistake in mistakes), mistakes)

    def test_reloads_that_come_in_a_burst_are_all_done(self):
        proxy = self.start()
        for _ in range(20):
            proxy.tell(signal.SIGHUP)
        harness.wait_until("the last one", lambda: proxy.events("reloaded"))
        self.reload()
        with tcp_client(self.port) as connection:
            self.assertTrue(echoed(connection))


class UnderLoad(Reload):
    """The whole promise at once: clients that verify bytes and ends, and reloads all the time, some of them
    with another number of workers or one more listener, some with a file that is wrong."""

    def setUp(self):
        super().setUp()
        self.stop, self.results, self.threads = threading.Event(), collections.Counter(), []

    def keep_running(self, port, *case):
        """The same client over and over, until the reloads are done."""
        def run():
            while not self.stop.is_set():
                client = load("client", "--connect", f"127.0.0.1:{port}", *case)
                output, _ = client.communicate(timeout=3 * harness.PATIENCE)
                self.results["failed" if client.returncode else "done"] += 1
                if client.returncode:
                    return print(output)
        self.threads.append(threading.Thread(target=run, daemon=True))
        self.threads[-1].start()

    def test_many_reloads_lose_nothing(self):
        web, plain, extra = reserve_port(), reserve_port(), reserve_port()
        served = load("serve", "--listen", "127.0.0.1:0")
        groups = [group(served.stdout.readline().rpartition(" ")[2].strip())]
        listeners = [tls_listener(web, certificates().leaf(), name="web",
                                  ssl_policy="ELBSecurityPolicy-TLS13-1-2-2021-06"), tcp_listener(plain)]
        proxy = self.start(service(listeners, groups))
        resting = load("client", "--connect", f"127.0.0.1:{web}", "--tls", "idle", "--flows", 50)
        self.assertEqual(resting.stdout.readline().strip(), "up 50")
        self.keep_running(web, "--tls", "soak", "--flows", scaled(100, 20), "--concurrency", 10)
        self.keep_running(plain, "soak", "--flows", scaled(200, 40), "--concurrency", 10)
        self.keep_running(web, "--tls", "handshakes", "--count", scaled(50, 10), "--concurrency", 4)
        self.keep_running(plain, "messages", "--seconds", 5, "--connections", 8)
        for number in range(RELOADS):
            if number % 7 == 3:
                self.refused(service(listeners, groups, workers=0))
            more = [tcp_listener(extra, name="extra")] if number % 5 == 1 else []
            self.reload(service(listeners + more, groups, workers=1 + number % 3))
        self.stop.set()
        for thread in self.threads:
            thread.join()
        resting.communicate("\n", timeout=harness.PATIENCE)
        self.assertEqual((resting.returncode, self.results["failed"]), (0, 0))
        self.assertGreaterEqual(self.results["done"], 4)
        served.send_signal(signal.SIGTERM)
        output, _ = served.communicate(timeout=harness.PATIENCE)
        self.assertEqual(served.returncode, 0, output)
        flows = json.loads(output.splitlines()[-1])["flows"]
        proxy.wait_counters(ActiveFlowCount=0, NewFlowCount=flows, WorkerDeathCount=0,
                            TargetConnectionErrorCount=0, ClientTLSNegotiationErrorCount=0)


if __name__ == "__main__":
    harness.main()
