"""Promised: a client whose handshake with TCP is half done when the listening socket of its worker is shut is
served by another worker. Checked with clients made by hand, whose packets the test writes to a TUN device in
a network namespace of its own, so that the last step of each handshake waits until the socket has gone. They
send again what nobody has answered, as TCP does."""

import contextlib
import ctypes
import fcntl
import os
import pathlib
import select
import signal
import socket
import struct
import subprocess
import time
import unittest

import harness
from harness import group, reserve_port, tcp_listener, wait_until
from maps import Numbers, read_table
from peers import Target, serve_echo

CLIENTS = 60
OURS, THEIRS = "10.211.0.1", "10.211.0.2"  # nobody else is in this namespace
CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
SYN, RST, PSH, ACK = 2, 4, 8, 16
FIRST = 1000  # the sequence number of every client's SYN
WORD = b"ping"


def run(*command):
    subprocess.run(command, check=True, timeout=harness.PATIENCE)


@contextlib.contextmanager
def wire():
    """A network namespace for this thread and the processes it starts, with loopback and a TUN device. Gives
    the device's other end: reads and writes are IP packets."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net", "rb") as before:
        if libc.unshare(CLONE_NEWNET):
            raise unittest.SkipTest(f"no network namespace here: {os.strerror(ctypes.get_errno())}")
        try:
            with open("/dev/net/tun", "r+b", buffering=0) as device:
                fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"wire", IFF_TUN | IFF_NO_PI))
                run("ip", "address", "add", f"{OURS}/24", "dev", "wire")
                for name in "lo", "wire":
                    run("ip", "link", "set", name, "up")
                yield device
        except FileNotFoundError as error:
            raise unittest.SkipTest(str(error)) from None
        finally:
            libc.setns(before.fileno(), CLONE_NEWNET)


def checksum(data):
    """RFC 1071."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Client:
    """One TCP connection, as far as it goes: SYN; the last ACK together with a word; the echo of the word."""

    def __init__(self, device, port, own_port):
        self.device, self.port, self.own_port = device, port, own_port
        self.theirs = None  # sequence number that comes next from the other side
        self.answer = b""
        self.refused = False

    def send(self, flags, sequence, data=b""):
        header = struct.pack("!HHIIBBHHH", self.own_port, self.port, sequence, self.theirs or 0, 5 << 4,
                             flags, 65535, 0, 0)
        addresses = socket.inet_aton(THEIRS) + socket.inet_aton(OURS)
        pseudo = addresses + struct.pack("!HH", socket.IPPROTO_TCP, len(header) + len(data))
        total = checksum(pseudo + header + data)
        tcp = header[:16] + struct.pack("!H", total) + header[18:] + data
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, socket.IPPROTO_TCP, 0) + addresses
        self.device.write(ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + tcp)

    def open(self):
        self.send(SYN, FIRST)

    def finish(self):
        """The handshake, and what the client has to say."""
        self.send(PSH | ACK, FIRST + 1, WORD)

    def take(self, flags, sequence, data):
        if flags & RST:
            self.refused = True
        elif flags & SYN:
            self.theirs = sequence + 1
        elif data and sequence == self.theirs:
            self.answer += data
            self.theirs += len(data)


def receive(device, clients, seconds):
    """Gives what comes within that time to the client it is for."""
    deadline = time.monotonic() + seconds
    while select.select([device], [], [], max(0, deadline - time.monotonic()))[0]:
        packet = device.read(65536)
        if packet[0] >> 4 != 4 or packet[9] != socket.IPPROTO_TCP:
            continue  # IPv6 looks for neighbours
        tcp = packet[(packet[0] & 15) * 4:]
        _, port, sequence, _, offset, flags = struct.unpack_from("!HHIIBB", tcp)
        if port in clients:
            clients[port].take(flags, sequence, tcp[(offset >> 4) * 4:])


def half_open(port):
    """Handshakes that wait for the client's last step (state 03 of man 5 proc)."""
    lines = pathlib.Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]
    return sum(columns[3] == "03" and int(columns[1].rpartition(":")[2], 16) == port
               for columns in map(str.split, lines))


class HalfOpen(Numbers):
    def setUp(self):
        self.device = self.enterContext(wire())
        super().setUp()
        target = self.enterContext(Target(serve_echo))
        self.port = reserve_port()
        self.proxy = self.start([tcp_listener(self.port, host=OURS)], [group(target)], drain_timeout="1s")

    def migrated(self):
        [row] = read_table(self.folder / "steering_table")
        # On a machine so busy that every worker was silent for a second the kernel's hash has chosen.
        return int(row["MIGRATED"]) + int(row["MIGRATED_UNSTEERED"])

    def worker_0(self):
        return read_table(self.folder / "workers_table")[0]

    def test_handshakes_go_on_at_another_worker(self):
        wait_until("worker 0 to be steered to", lambda: self.worker_0()["STATE"] == "serving")
        clients = {own: Client(self.device, self.port, own) for own in range(20000, 20000 + CLIENTS)}
        for client in clients.values():
            client.open()
        wait_until("all SYNs to be answered", lambda: receive(self.device, clients, 0.05) or
                   all(client.theirs for client in clients.values()))
        self.assertEqual(half_open(self.port), CLIENTS)
        its = int(self.worker_0()["PICKED"])
        self.assertGreater(its, 0)
        before = self.migrated()
        # It stays away for as long as the test likes, and so do its sockets.
        victim = self.proxy.workers()[0]
        os.kill(victim, signal.SIGSTOP)
        self.addCleanup(os.kill, victim, signal.SIGCONT)
        # From now on they are moved: by the client's last step, or by the timer that repeats ours.
        self.proxy.wait_events("queue_given_away", worker=0)
        self.finish(clients)
        self.assertGreaterEqual(self.migrated() - before, its)
        self.assertEqual(self.proxy.workers()[0], victim)

    def finish(self, clients):
        deadline = time.monotonic() + harness.PATIENCE
        left = clients
        while left and time.monotonic() < deadline:
            for client in left.values():
                client.finish()
            receive(self.device, clients, 0.3)
            self.assertFalse([own for own, client in clients.items() if client.refused], "reset")
            left = {own: client for own, client in left.items() if client.answer != WORD}
        self.assertFalse(left, f"{len(left)} of {CLIENTS} were never answered")


if __name__ == "__main__":
    harness.main()
