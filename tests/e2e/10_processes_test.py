"""Promised: a worker that dies costs its own flows only and is replaced within a second, more slowly when
it keeps dying; workers have no privileges; SIGTERM lets the running flows finish without losing a byte
while new connections are refused, and cuts what is left after drain_timeout; SIGINT ends at once. Checked
by killing, by /proc, and by flows that check every byte they get back while it happens."""

import os
import pathlib
import re
import resource
import signal
import socket
import threading
import time
import unittest

import harness
from certificates import certificates
from harness import (Proxy, group, needs_root, process_exists, process_status, reserve_port, scaled,
                     service, tcp_listener, tls_listener, wait_until)
from peers import Target, echoed, ended_cleanly, receive_exactly, serve_echo, tcp_client, tls_client

FLOWS = scaled(24, 12)
SECOND = scaled(1.0, 5.0)  # "within a second", with the slowness of the sanitizers


class Talker(threading.Thread):
    """A client that sends numbered blocks and wants each back until told to finish, and closes in order."""

    def __init__(self, connection):
        super().__init__(daemon=True)
        self.connection, self.address = connection, connection.getsockname()
        self.rounds, self.error, self.clean = 0, None, False
        self._told = threading.Event()
        self.start()

    def run(self):
        try:
            while not self._told.is_set():
                block = self.rounds.to_bytes(8, "big") * 1024
                self.connection.sendall(block)
                assert receive_exactly(self.connection, len(block)) == block, "other bytes came back"
                self.rounds += 1
                time.sleep(0.01)
            self.connection.unwrap() if hasattr(self.connection, "unwrap") else self.connection.close()
            self.clean = True
        except (OSError, AssertionError) as error:
            self.error = error

    def finish(self):
        self._told.set()
        self.join(harness.PATIENCE)

    def wait_rounds(self, more):
        wanted = self.rounds + more
        wait_until("a flow that goes on", lambda: self.rounds >= wanted or self.error)


class Processes(unittest.TestCase):
    def start(self, **top):
        self.target = self.enterContext(Target(serve_echo))
        self.tls_port, self.tcp_port = reserve_port(), reserve_port()
        listeners = [tls_listener(self.tls_port, certificates().leaf()), tcp_listener(self.tcp_port)]
        self.proxy = self.enterContext(Proxy(service(listeners, [group(self.target)], **top)))

    def talkers(self, count=FLOWS):
        return [Talker(tls_client(self.tls_port) if number % 2 else tcp_client(self.tcp_port))
                for number in range(count)]


class WorkerDeath(Processes):
    @needs_root
    def test_a_killed_worker_costs_only_its_own_flows(self):
        self.start()
        talkers = self.talkers()
        served_by = {talker: self.proxy.worker_of(talker.connection) for talker in talkers}
        victim = self.proxy.workers()[0]
        self.assertEqual(set(served_by.values()), set(self.proxy.workers().values()))
        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        wait_until("another worker 0", lambda: self.proxy.workers().get(0, victim) != victim, every=0.005)
        self.assertLess(time.monotonic() - killed, SECOND)
        for talker in talkers:
            if served_by[talker] == victim:
                talker.join(harness.PATIENCE)
                self.assertIsInstance(talker.error, (OSError, AssertionError))
            else:
                talker.wait_rounds(20)
                talker.finish()
                self.assertTrue(talker.clean, f"a flow of the other worker ended: {talker.error}")
        died = self.proxy.wait_events("worker_died")[0]
        self.assertEqual((died["worker"], died["worker_pid"]), ("0", str(victim)))
        self.assertIn("KILL" if not died.get("signal", "9").isdigit() else "9", died.get("signal", ""))
        self.proxy.wait_counters(WorkerDeathCount=1, ActiveFlowCount=0)
        self.check_both_workers_serve()

    def check_both_workers_serve(self):
        workers, seen = set(self.proxy.workers().values()), set()
        for _ in range(60):
            with tls_client(self.tls_port) as client:
                self.assertTrue(echoed(client))
                seen.add(self.proxy.worker_of(client))
        self.assertEqual(seen, workers)

    def test_connections_made_while_a_worker_is_dead_are_served(self):
        """The listening sockets belong to the master: what is queued waits for the next worker."""
        self.start()
        for victim in self.proxy.workers().values():
            os.kill(victim, signal.SIGKILL)
        clients = [tcp_client(self.tcp_port) for _ in range(20)]
        for client in clients:
            with client:
                self.assertTrue(echoed(client))
        self.proxy.wait_counters(WorkerDeathCount=2)

    def test_a_worker_that_keeps_dying_comes_back_more_slowly(self):
        self.start()
        other, delays = self.proxy.workers()[1], []
        while len(delays) < 6:
            victim = wait_until("worker 0", lambda: self.proxy.workers().get(0))
            killed = time.monotonic()
            os.kill(victim, signal.SIGKILL)
            wait_until("another worker 0", lambda: self.proxy.workers().get(0, victim) != victim, every=0.002)
            delays.append(time.monotonic() - killed)
        self.assertLess(delays[0], SECOND)
        self.assertGreater(delays[-1], 4 * delays[0])
        self.assertGreater(delays[-1], 0.4, f"delays {delays}")
        self.assertEqual(self.proxy.workers()[1], other)
        with tls_client(self.tls_port) as client:
            self.assertTrue(echoed(client))
        self.proxy.wait_counters(WorkerDeathCount=6)

    def test_the_workers_do_not_outlive_the_master(self):
        self.start()
        workers = self.proxy.workers().values()
        self.proxy.expected_status = -signal.SIGKILL
        self.proxy.process.kill()
        wait_until("the workers to end", lambda: not any(process_exists(pid) for pid in workers))
        self.assertRaises(ConnectionRefusedError, tcp_client, self.tcp_port)


@needs_root
class Privileges(Processes):
    def check(self, user):
        self.assertEqual(len(self.proxy.workers()), 2)
        for pid in self.proxy.workers().values():
            harness.assert_unprivileged(self, pid, user)
            limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
            soft, hard = re.search(r"Max open files +(\d+) +(\d+)", limits).groups()
            self.assertEqual(soft, hard)
            self.assertGreaterEqual(int(soft), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        with tls_client(self.tls_port) as client:
            self.assertTrue(echoed(client))

    def test_workers_run_as_nobody_by_default(self):
        self.start()
        self.check("nobody")

    def test_workers_run_as_the_user_that_is_configured(self):
        self.start(user="daemon")
        self.check("daemon")

    def test_a_replaced_worker_is_as_unprivileged(self):
        self.start()
        victim = self.proxy.workers()[0]
        os.kill(victim, signal.SIGKILL)
        wait_until("another worker 0", lambda: self.proxy.workers().get(0, victim) != victim)
        wait_until("it has given up root",
                   lambda: not process_status(self.proxy.workers()[0])["Uid"].startswith("0"))
        self.check("nobody")

    def test_the_fd_limit_is_raised_from_a_low_soft_limit(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
            self.start()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.check("nobody")


class Draining(Processes):
    def test_sigterm_under_load_loses_no_byte(self):
        self.start(drain_timeout="25s")
        talkers = self.talkers()
        for talker in talkers:
            talker.wait_rounds(2)
        self.proxy.tell(signal.SIGTERM)
        told = time.monotonic()
        wait_until("new connections to be refused", self.all_refused, timeout=SECOND)
        for talker in talkers:
            talker.wait_rounds(30)
        self.assertFalse(self.proxy.gone())
        self.assertTrue(self.all_refused())
        for talker in talkers:
            talker.finish()
            self.assertIsNone(talker.error)
        self.assertEqual(self.proxy.wait(), 0)
        self.assertLess(time.monotonic() - told, 24)
        for talker in talkers:
            flow = self.proxy.flow_of(talker.address)
            self.assertEqual(flow["end"], "closed")
            self.assertEqual(int(flow["received_bytes"]), talker.rounds * 8192)

    def all_refused(self):
        for port in (self.tcp_port, self.tls_port):
            try:
                tcp_client(port).close()
                return False
            except ConnectionRefusedError:
                pass
            except ConnectionError:  # still queued when the listening socket was closed
                return False
        return True

    def test_an_idle_service_ends_at_once(self):
        self.start()
        start = time.monotonic()
        self.assertEqual(self.proxy.stop(), 0)
        self.assertLess(time.monotonic() - start, scaled(2, 15))

    def test_drain_timeout_cuts_what_is_left(self):
        self.start(drain_timeout="1s")
        clients = [tls_client(self.tls_port), tcp_client(self.tcp_port)]
        addresses = [client.getsockname() for client in clients]
        self.assertTrue(all(echoed(client) for client in clients))
        start = time.monotonic()
        self.assertEqual(self.proxy.stop(), 0)
        self.assertTrue(0.9 <= time.monotonic() - start <= scaled(4, 15))
        for client, address in zip(clients, addresses):
            with client:
                self.assertFalse(ended_cleanly(client), "a cut flow looks like a finished one")
            self.assertEqual(self.proxy.flow_of(address)["end"], "cut")

    def test_sigint_ends_at_once(self):
        self.start(drain_timeout="60s")
        self.sigint_with_open_flows(signals=[signal.SIGINT])

    def test_sigint_ends_a_drain(self):
        self.start(drain_timeout="60s")
        self.sigint_with_open_flows(signals=[signal.SIGTERM, signal.SIGINT])

    def sigint_with_open_flows(self, signals):
        clients = [tls_client(self.tls_port), tcp_client(self.tcp_port)]
        addresses = [client.getsockname() for client in clients]
        self.assertTrue(all(echoed(client) for client in clients))
        for number in signals[:-1]:
            self.proxy.tell(number)
            wait_until("new connections to be refused", self.all_refused)
            self.assertTrue(all(echoed(client) for client in clients))
        start = time.monotonic()
        self.assertEqual(self.proxy.stop(signals[-1]), 0)
        self.assertLess(time.monotonic() - start, scaled(2, 15))
        for client in clients:
            with client:
                self.assertFalse(ended_cleanly(client))
        self.assertEqual([self.proxy.flow_of(address)["end"] for address in addresses], ["cut", "cut"])

    def test_clients_that_connect_right_at_sigterm(self):
        """Each is either served to the end or refused; none hangs, none gets half an answer."""
        self.start(drain_timeout="10s")
        outcomes, stop = [], threading.Event()
        callers = [threading.Thread(target=self.call, args=(outcomes, stop)) for _ in range(6)]
        for caller in callers:
            caller.start()
        wait_until("some to be served", lambda: outcomes.count("served") > 30)
        self.assertEqual(self.proxy.stop(), 0)
        stop.set()
        for caller in callers:
            caller.join(harness.PATIENCE)
            self.assertFalse(caller.is_alive())
        self.assertLessEqual(set(outcomes), {"served", "refused"})
        self.assertIn("refused", outcomes)

    def call(self, outcomes, stop):
        while not stop.is_set():
            connected = False
            try:
                with socket.create_connection(("127.0.0.1", self.tcp_port), 5) as client:
                    client.sendall(b"ping\n")
                    answer = client.recv(5)
                    connected = bool(answer)
                    outcomes.append("served" if answer == b"ping\n" else f"half an answer: {answer!r}")
            except ConnectionError:
                outcomes.append("refused" if not connected else "broken off")
            except TimeoutError:
                outcomes.append("hung")


if __name__ == "__main__":
    harness.main()
