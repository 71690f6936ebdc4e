"""Promised: a reload (SIGHUP) is noticed by nobody. New workers serve the new configuration, flows that run
go on with the old ones to their ends, no connection is refused, reset or lost, however many reloads there
are; the totals go on. What is wrong with the new configuration is said, and nothing changes. Checked with
clients and targets that verify every byte and every end, with listeners that come and go, other numbers of
workers, another certificate, and files that are wrong in every way that a start would find."""

import contextlib
import os
import pathlib
import signal
import socket
import tempfile
import unittest

import harness
from certificates import certificates
from exposition import request
from harness import Proxy, group, process_exists, reserve_port, scaled, service, tcp_listener, tls_listener
from peers import RESET, Target, echoed, exchange_of, serve_echo, tcp_client, tls_client
from traffic import ConstantLoad

RELOADS = int(os.environ.get("RELOADS", scaled(100, 12)))


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


class Trouble(Reload):
    def test_a_worker_that_is_stopped_is_not_waited_for(self):
        """What was shut because of it listens again, and it ends when it goes on."""
        proxy = self.start()
        stopped = proxy.workers()[0]
        os.kill(stopped, signal.SIGSTOP)
        self.addCleanup(self.go_on, stopped)
        proxy.wait_events("worker_stuck", worker=0)
        self.reload()
        self.assert_everybody_is_served(proxy)
        os.kill(stopped, signal.SIGCONT)
        proxy.wait_events("generation_ended", generation=1)
        self.assertEqual(proxy.events("worker_died"), [])

    @staticmethod
    def go_on(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def assert_everybody_is_served(self, proxy):
        """By both workers: their sockets listen, and are steered to."""
        clients = [self.enterContext(tcp_client(self.port)) for _ in range(40)]
        for client in clients:
            self.assertTrue(echoed(client))
        if harness.ROOT:
            self.assertEqual({proxy.worker_of(client) for client in clients}, set(proxy.workers().values()))
        self.assertEqual({line["mode"] for line in proxy.events("steering")},
                         {proxy.events("steering")[0]["mode"]})

    def test_flows_of_retired_workers_count_for_max_flows(self):
        proxy = self.start(self.config(max_flows=2))
        flows = [self.enterContext(tcp_client(self.port)) for _ in range(2)]
        for flow in flows:
            self.assertTrue(echoed(flow))
        self.reload()
        self.assertEqual(exchange_of(self.port)[1:], (b"", RESET))
        flows[0].close()
        proxy.wait_counters(ActiveFlowCount=1)
        with tcp_client(self.port) as flow:
            self.assertTrue(echoed(flow))

    def test_what_was_opened_for_a_change_that_fails_is_closed(self):
        proxy = self.start()
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        taken = self.enterContext(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        self.refused(self.config(admin={"socket": folder / "admin.sock"},
                                 metrics={"address": f"127.0.0.1:{taken}"}))
        self.assertEqual(list(folder.iterdir()), [])
        self.reload(self.config(admin={"socket": folder / "admin.sock"}))
        self.assertEqual(harness.run_program("reload", "-c", proxy.config_file).returncode, 0)
        self.assertFalse((proxy.folder / "admin.sock").exists())

    def test_the_log_follows(self):
        proxy = self.start()
        for level in "error", "info":
            proxy.write_config(self.config(log={"level": level}))
            done = harness.run_program("reload", "-c", proxy.config_file)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            with tcp_client(self.port) as flow:
                self.assertTrue(echoed(flow))
                address = flow.getsockname()
        proxy.flow_of(address)
        self.assertEqual(len(proxy.events("flow")), 1)


class UnderLoad(Reload):
    def test_many_reloads_lose_nothing(self):
        """Some of them with other workers or one more listener, some with a file that is wrong."""
        load, extra = ConstantLoad(self), reserve_port()
        groups = [group(load.target)]
        proxy = self.start(service(load.listeners, groups))
        load.begin()
        for number in range(RELOADS):
            if number % 7 == 3:
                self.refused(service(load.listeners, groups, workers=0))
            more = [tcp_listener(extra, name="extra")] if number % 5 == 1 else []
            self.reload(service(load.listeners + more, groups, workers=1 + number % 3))
        load.end(proxy)


if __name__ == "__main__":
    harness.main()
