"""Promised: new connections go to the least loaded worker, also in a burst that no worker has seen yet; one
that drains or is stuck gets nothing new; what is queued for a worker that is killed, keeps dying or hangs is
served by another one, every connection of it; `steering` chooses other rules; without the privilege the
service starts all the same and says so once. Checked by stopping and killing workers under queued
connections, by who holds the other end of a connection, and by the kernel's own queue lengths."""

import collections
import contextlib
import os
import pathlib
import pwd
import signal
import tempfile
import time
import unittest

import harness
from harness import (Proxy, group, needs_root, process_status, reserve_port, scaled, service, tcp_listener,
                     wait_until)
from peers import Target, receive_exactly, tcp_client
from steered import Steered, answered, listening_queues, say_who

QUEUED = int(os.environ.get("TLSPLICE_QUEUED", scaled(1000, 200)))  # at the worker that goes
BURST = scaled(400, 100)
STUCK_WITHIN = 30  # seconds; 3 on a machine that is not starved


@needs_root
class Spread(Steered):
    def test_a_burst_that_no_worker_has_seen_yet_is_spread(self):
        """All workers stopped: nothing tells the program what became of what it gave them but itself."""
        self.start(workers=4)
        workers = self.proxy.workers().values()
        for pid in workers:
            self.stop_worker(pid)
        clients = self.connect(40)
        queues = sorted(listening_queues(self.port))
        self.let_go()
        self.assertEqual(sum(queues), 40, queues)
        self.assertEqual(queues, [10, 10, 10, 10])
        self.assertTrue(all(answered(client) for client in clients))

    def test_flows_that_stay_are_shared_evenly(self):
        self.start(workers=4)
        clients = self.connect(BURST)
        self.assertTrue(all(answered(client) for client in clients))
        shares = self.active()
        self.assertEqual(sum(shares.values()), BURST)
        self.assertLess(max(shares.values()) - min(shares.values()), BURST // 20 + 2, shares)

    def test_whoever_has_fewer_flows_gets_the_next_ones(self):
        self.start()
        clients = self.connect(40)
        self.assertTrue(all(answered(client) for client in clients))
        victim = self.proxy.workers()[0]
        for client in clients:
            if self.proxy.worker_of(client) == victim:
                client.close()
        wait_until("worker 0 to be idle", lambda: self.sockets_of(victim) == 0)
        time.sleep(0.5)  # two heartbeats
        later = self.connect(10)
        self.assertTrue(all(answered(client) for client in later))
        self.assertEqual({self.proxy.worker_of(client) for client in later}, {victim})


@needs_root
class NothingNew(Steered):
    def test_for_a_worker_that_drains(self):
        self.start()
        clients = self.connect(20)
        self.assertTrue(all(answered(client) for client in clients))
        victim, other = self.proxy.workers()[0], self.proxy.workers()[1]
        os.kill(victim, signal.SIGTERM)
        wait_until("the worker to close its listening socket",
                   lambda: self.proxy.workers().get(0) == victim and self.closed_its_door(victim))
        later = self.connect(60)
        self.assertTrue(all(answered(client) for client in later))
        self.assertEqual({self.proxy.worker_of(client) for client in later}, {other})
        self.assertTrue(all(answered(client) for client in clients), "flows of the draining worker go on")

    def closed_its_door(self, pid):
        inodes = {line.split()[9] for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
                  if line.split()[3] == "0A"}
        links = set()
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                links.add(os.readlink(f"/proc/{pid}/fd/{name}"))
        return not any(f"socket:[{inode}]" in links for inode in inodes)

    def test_for_a_worker_that_is_stuck(self):
        self.start()
        victim, other = self.proxy.workers()[0], self.proxy.workers()[1]
        self.stop_worker(victim)
        time.sleep(1.2)  # the heartbeat is old after one second
        clients = self.connect(60)
        self.assertTrue(all(answered(client) for client in clients))
        self.assertEqual({self.proxy.worker_of(client) for client in clients}, {other})

    def test_until_the_stuck_worker_is_back(self):
        self.start()
        victim = self.proxy.workers()[0]
        self.stop_worker(victim)
        self.proxy.wait_events("worker_stuck", worker=0, timeout=STUCK_WITHIN)
        self.let_go()
        self.proxy.wait_events("worker_back", worker=0)
        clients = self.connect(60)
        self.assertTrue(all(answered(client) for client in clients))
        self.assertEqual(self.proxy.workers()[0], victim)
        self.assertIn(victim, {self.proxy.worker_of(client) for client in clients})
        self.assertEqual(self.proxy.counters()["WorkerDeathCount"], 0)


@needs_root
class NothingLost(Steered):
    """A worker is stopped and connections queue up for it; each client has sent its first word already."""

    def queue_up(self):
        """Both are stopped, so that neither takes more than the other; then the second one goes on."""
        self.start()
        self.victim, other = self.proxy.workers()[0], self.proxy.workers()[1]
        self.stop_worker(self.victim)
        self.stop_worker(other)
        clients = self.connect(2 * QUEUED)
        for client in clients:
            client.sendall(b"ping")
        self.assertEqual(sum(listening_queues(self.port)), 2 * QUEUED)
        self.assertGreater(min(listening_queues(self.port)), 2 * QUEUED // 3)
        os.kill(other, signal.SIGCONT)
        wait_until("the other worker to take its own", lambda: min(listening_queues(self.port)) == 0)
        return clients

    def check_all_served(self, clients):
        for number, client in enumerate(clients):
            self.assertEqual(receive_exactly(client, 4), b"ping", f"client {number} of {len(clients)}")
        self.assertTrue(all(answered(client) for client in clients))

    def test_when_a_worker_is_killed(self):
        clients = self.queue_up()
        os.kill(self.victim, signal.SIGKILL)
        self.check_all_served(clients)

    def test_when_a_worker_stays_stopped(self):
        clients = self.queue_up()
        self.proxy.wait_events("queue_given_away", worker=0, timeout=STUCK_WITHIN)
        self.check_all_served(clients)
        other = self.proxy.workers()[1]
        self.assertEqual({self.proxy.worker_of(client) for client in clients[::50]}, {other})
        self.assertEqual(self.proxy.workers()[0], self.victim)
        os.kill(self.victim, signal.SIGKILL)  # it cannot drain
        self.proxy.wait_events("worker_started", 2, worker=0)

    def test_when_a_worker_keeps_dying(self):
        """The second death is followed by a pause: the queue does not wait for it."""
        self.start()
        os.kill(self.proxy.workers()[0], signal.SIGKILL)
        self.proxy.wait_events("worker_started", 2, worker=0)
        for deaths in range(2, 6):
            self.die_with_a_queue(deaths)

    def die_with_a_queue(self, deaths):
        victim = wait_until("worker 0", lambda: self.proxy.workers().get(0))
        time.sleep(0.3)  # its first heartbeat
        self.stop_worker(victim)
        clients = self.connect(20)
        for client in clients:
            client.sendall(b"ping")
        self.assertGreater(max(listening_queues(self.port)), 0)
        os.kill(victim, signal.SIGKILL)
        self.check_all_served(clients)
        for client in clients:
            client.close()
        self.proxy.wait_events("worker_started", deaths + 1, worker=0)


class OverIPv6(NothingLost):
    HOST = "::1"
    test_when_a_worker_keeps_dying = None

    def check_all_served(self, clients):  # who holds which connection is told by an IPv4 table
        for client in clients:
            self.assertEqual(receive_exactly(client, 4), b"ping")

    def test_when_a_worker_stays_stopped(self):
        clients = self.queue_up()
        self.proxy.wait_events("queue_given_away", worker=0, timeout=STUCK_WITHIN)
        self.check_all_served(clients)
        os.kill(self.victim, signal.SIGKILL)
        self.proxy.wait_events("worker_started", 2, worker=0)

    def test_a_burst_is_spread(self):
        self.start(workers=4)
        for pid in self.proxy.workers().values():
            self.stop_worker(pid)
        self.connect(40)
        queues = sorted(listening_queues(self.port))
        self.let_go()
        self.assertEqual(queues, [10, 10, 10, 10])


@needs_root
class OtherRules(Steered):
    def test_the_hash_does_not_look_at_the_load(self):
        self.start(steering="hash", workers=4)
        for pid in self.proxy.workers().values():
            self.stop_worker(pid)
        self.connect(200)
        queues = sorted(listening_queues(self.port))
        self.let_go()
        self.assertEqual(sum(queues), 200)
        self.assertNotEqual(queues, [50] * 4)  # one chance in thousands
        self.assertGreater(queues[0], 15, queues)

    def test_the_hash_passes_over_a_stuck_worker(self):
        self.start(steering="hash")
        victim, other = self.proxy.workers()[0], self.proxy.workers()[1]
        self.stop_worker(victim)
        time.sleep(1.2)
        clients = self.connect(40)
        self.assertTrue(all(answered(client) for client in clients))
        self.assertEqual({self.proxy.worker_of(client) for client in clients}, {other})


@needs_root
class WithoutTheProgram(unittest.TestCase):
    """Root without two capabilities, as in a container that was granted nothing; and not root at all."""

    def setUp(self):
        self.target = self.enterContext(Target(say_who))
        self.port = reserve_port()
        writable = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        writable.chmod(0o777)
        self.folder = writable / "tlsplice"

    def config(self, **top):
        return service([tcp_listener(self.port)], [group(self.target)], bpf_directory=self.folder, **top)

    def test_root_without_capabilities_serves_and_says_so_once(self):
        without = ["setpriv", "--bounding-set", "-bpf,-net_admin,-sys_admin"]
        with Proxy(self.config(), prefix=without) as proxy:
            self.check(proxy)

    def test_a_user_serves_and_says_so_once(self):
        nobody = pwd.getpwnam("nobody").pw_uid
        with Proxy(self.config(), user=nobody) as proxy:
            for pid in proxy.process.pid, *proxy.workers().values():
                self.assertEqual(process_status(pid)["Uid"].split(), [str(nobody)] * 4)
                self.assertEqual(int(process_status(pid)["CapEff"], 16), 0)
            self.check(proxy)
            proxy.wait_counters(NewFlowCount=100)
            self.assertEqual(proxy.stop(), 0)
            self.assertFalse(proxy.events("worker_failed"))

    def check(self, proxy):
        said = proxy.events("steering")
        self.assertEqual([line["mode"] for line in said], ["kernel-hash"])
        self.assertEqual(said[0]["level"], "warning")
        self.assertIn("CAP_BPF", said[0]["why"])
        clients = [tcp_client(self.port) for _ in range(60)]
        self.assertTrue(all(answered(client) for client in clients))
        shares = collections.Counter(map(proxy.worker_of, clients))
        self.assertEqual(shares.keys(), set(proxy.workers().values()))
        self.assertGreater(min(shares.values()), 10, "a hash spreads better")  # one chance in a million
        self.check_death(proxy)
        for client in clients:
            client.close()
        self.assertFalse(self.folder.exists(), "tables of numbers that are in no map")
        self.assertEqual(len(proxy.events("steering")), 1)

    def check_death(self, proxy):
        """Stopped, and then killed: the queue still waits for the next worker."""
        victim = proxy.workers()[0]
        os.kill(victim, signal.SIGSTOP)
        clients = [tcp_client(self.port) for _ in range(40)]
        proxy.wait_events("worker_stuck", worker=0, timeout=STUCK_WITHIN)
        os.kill(victim, signal.SIGKILL)
        for client in clients:
            with client:
                self.assertTrue(answered(client))
        self.assertFalse(proxy.events("queue_given_away"))


if __name__ == "__main__":
    harness.main()
