"""A service of which the tests see who serves what: what tests of steering stand on. Workers are stopped
under queued connections; who holds the other end of a connection serves it; queue lengths are the kernel's.
"""

import contextlib
import os
import pathlib
import signal
import unittest

from harness import Proxy, group, reserve_port, service, tcp_listener, wait_until
from peers import Target, receive_exactly, tcp_client


def say_who(connection):
    """The target's part: one word back for each word, until the client ends."""
    while word := connection.recv(4):
        connection.sendall(word)


def answered(client):
    client.sendall(b"ping")
    return receive_exactly(client, 4) == b"ping"


def listening_queues(port):
    """The lengths of the accept queues of all listening sockets on that port (man 5 proc: rx_queue)."""
    queues = []
    for table in "tcp", "tcp6":
        for line in pathlib.Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A" and int(columns[1].rpartition(":")[2], 16) == port:
                queues.append(int(columns[4].partition(":")[2], 16))
    return queues


class Steered(unittest.TestCase):
    HOST = "127.0.0.1"
    clients = ()

    def start(self, workers=2, **top):
        self.target = self.enterContext(Target(say_who))
        self.port = reserve_port()
        listener = tcp_listener(self.port, host=f"[{self.HOST}]" if ":" in self.HOST else self.HOST)
        config = service([listener], [group(self.target)], workers=workers, **top)
        self.proxy = self.enterContext(Proxy(config))
        self.assertEqual(self.proxy.events("steering")[0]["mode"], top.get("steering", "least-loaded"))
        self.stopped = set()
        self.addCleanup(self.let_go)

    def let_go(self):
        for pid in self.stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def stop_worker(self, pid):
        os.kill(pid, signal.SIGSTOP)
        self.stopped.add(pid)
        wait_until("the worker to be stopped",
                   lambda: ") T" in pathlib.Path(f"/proc/{pid}/stat").read_text())

    def connect(self, count):
        clients = [tcp_client(self.port, self.HOST) for _ in range(count)]
        for client in clients:
            self.enterContext(client)
        return clients

    def active(self):
        """Flows of each worker, from its descriptors."""
        return {pid: self.sockets_of(pid) for pid in self.proxy.workers().values()}

    def sockets_of(self, pid):
        count = 0
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                count += os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:")
        return (count - 2) // 2  # without the listening socket and the master's channel; two sockets a flow
